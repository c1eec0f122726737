"""The worker: the workflows and activities of the named packages, and those that every worker has."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.calling import CallingActivities
from activities.correlation import Seal
from activities.ports import ResultPublisher
from activities.publishing import PublishingActivities
from service.errors import ConfigurationError
from workflows.inbox import Inbox

MOST_TRIES_PER_SECOND = 100
"""Activities of turnout's own, of all bridges together: each park tries once a second, and a thousand of
them would keep Temporal from its work. With more than a hundred, each tries less often."""


@dataclass(frozen=True, slots=True)
class Found:
    """Workflow classes and activity functions of some packages."""

    workflows: Sequence[type]
    activities: Sequence[Callable[..., Any]]


def find(packages: Iterable[str]) -> Found:
    """All `@workflow.defn` classes and `@activity.defn` functions in `packages` and below.

    Raises:
        ConfigurationError: A package cannot be imported.
    """
    things = [thing for name in packages for module in _modules(name) for thing in _own(module)]
    return Found(
        workflows=list(dict.fromkeys(t for t in things if _is_workflow(t))),
        activities=list(dict.fromkeys(t for t in things if _is_activity(t))),
    )


def make_worker(
    client: Client,
    task_queue: str,
    found: Found,
    publisher: ResultPublisher,
    *,
    grace: timedelta,
    seal: Seal | None = None,
) -> Worker:
    """A worker that is not running yet; use it with `async with`.

    After its shutdown began, activities may go on for `grace`. Without `seal`, its workflows cannot call.
    """
    calling = CallingActivities(publisher, seal)
    return Worker(
        client,
        task_queue=task_queue,
        workflows=found.workflows,
        activities=[
            *found.activities,
            PublishingActivities(publisher).publish,
            calling.call,
            calling.take_back,
        ],
        workflow_runner=sandbox(),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        graceful_shutdown_timeout=grace,
        plugins=[Inbox()],
    )


def service_queue(group: str) -> str:
    """The task queue of turnout's own workflows for `group`, apart from those of the teams."""
    return f"turnout.{group}"


def make_service_worker(
    client: Client,
    group: str,
    workflows: Sequence[type],
    activities: Sequence[Callable[..., Any]],
    *,
    grace: timedelta = timedelta(seconds=10),
) -> Worker:
    """The worker of turnout's own workflows, which runs beside each bridge of `group`; not running yet."""
    return Worker(
        client,
        task_queue=service_queue(group),
        workflows=workflows,
        activities=activities,
        workflow_runner=sandbox(),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_task_queue_activities_per_second=MOST_TRIES_PER_SECOND,
        graceful_shutdown_timeout=grace,
        # After a crash a task waits so long for the worker that died before another one gets it: with the
        # SDK's 10 s a new bridge would begin before it knows what was paused meanwhile.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )


def sandbox() -> SandboxedWorkflowRunner:
    """What workflows run in, in each worker of ours, and when a history is replayed."""
    # Passed through: models without state. Importing them anew for each workflow costs 15 ms.
    restrictions = SandboxRestrictions.default.with_passthrough_modules("activities")
    return SandboxedWorkflowRunner(restrictions=restrictions)


def _modules(package: str) -> Iterator[ModuleType]:
    try:
        top = importlib.import_module(package)
        yield top
        for info in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}."):
            yield importlib.import_module(info.name)
    except Exception as error:  # what a team's module does when it is imported is theirs
        msg = f"TURNOUT_WORKER__MODULES: {package} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error


def _own(module: ModuleType) -> Iterator[Any]:
    """What is defined in `module` itself, not what it imports."""
    return (thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__)


def _is_workflow(thing: Any) -> bool:
    return isinstance(thing, type) and workflow._Definition.from_class(thing) is not None  # noqa: SLF001


def _is_activity(thing: Any) -> bool:
    return callable(thing) and activity._Definition.from_callable(thing) is not None  # noqa: SLF001
