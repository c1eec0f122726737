"""The worker: the workflows and activities of the named packages, and those that every worker has."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Interceptor, PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.calling import CallingActivities
from activities.correlation import Seal
from activities.ports import ResultPublisher
from activities.publishing import PublishingActivities
from service.errors import ConfigurationError
from service.temporal.versions import Unversioned, versioned_as
from workflows.inbox import Inbox

MOST_TRIES_PER_SECOND = 100
"""Activities of turnout's own, of all bridges together: each park tries once a second, and a thousand of
them would keep Temporal from its work. With more than a hundred, each tries less often."""


SETTING = "TURNOUT_WORKER__MODULES"
NOT_FOUND = (
    "install it into the environment that turnout runs in, or name the folder that holds it in PYTHONPATH"
)


@dataclass(frozen=True, slots=True)
class Found:
    """Workflow classes and activity functions of some packages."""

    workflows: Sequence[type]
    activities: Sequence[Callable[..., Any]]


def find(packages: Iterable[str]) -> Found:
    """All `@workflow.defn` classes and `@activity.defn` functions in `packages` and below.

    Raises:
        ConfigurationError: A package cannot be imported, or has neither.
    """
    things = [thing for package in packages for thing in _things(package)]
    return Found(
        workflows=list(dict.fromkeys(t for t in things if _is_workflow(t))),
        activities=list(dict.fromkeys(t for t in things if _is_activity(t))),
    )


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a worker takes on at once, and what it keeps in memory; the numbers are the SDK's own.

    Args:
        cached_workflows: Workflows that are kept between their tasks; another one is replayed at its next.
        workflow_slots: Workflow tasks at once.
        activity_slots: Activities at once; local ones have as many slots again.
        pollers: Calls that wait for tasks, of each kind: so many at most, fewer while there is little to do.
        pass_through: Modules that workflows import from outside of the sandbox, once for all.
    """

    cached_workflows: int = 1_000
    workflow_slots: int = 100
    activity_slots: int = 100
    pollers: int = 100
    pass_through: Sequence[str] = ()


def make_worker(
    client: Client,
    task_queue: str,
    found: Found,
    publisher: ResultPublisher,
    *,
    grace: timedelta,
    capacity: Capacity = Capacity(),
    version: WorkerDeploymentVersion | None = None,
    seal: Seal | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """A worker that is not running yet; use it with `async with`.

    After its shutdown began, activities may go on for `grace`. With a `version`, Temporal gives it new
    workflows once that is the current one of its deployment. Without `seal`, its workflows cannot call.

    Raises:
        ConfigurationError: What was found cannot be run, e.g. two workflows have one name.
    """
    calling = CallingActivities(publisher, seal)
    sandboxed, plain = sandbox(capacity.pass_through), UnsandboxedWorkflowRunner()
    with loading():
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
            workflow_runner=sandboxed if version else Unversioned(sandboxed),
            unsandboxed_workflow_runner=plain if version else Unversioned(plain),
            max_cached_workflows=capacity.cached_workflows,
            max_concurrent_workflow_tasks=capacity.workflow_slots,
            max_concurrent_activities=capacity.activity_slots,
            max_concurrent_local_activities=capacity.activity_slots,
            workflow_task_poller_behavior=_polling(capacity.pollers),
            activity_task_poller_behavior=_polling(capacity.pollers),
            graceful_shutdown_timeout=grace,
            # For activities that are no coroutines.
            activity_executor=ThreadPoolExecutor(capacity.activity_slots, thread_name_prefix="activity"),
            interceptors=interceptors,
            plugins=[Inbox()],
            deployment_config=versioned_as(version) if version else None,
        )


@contextmanager
def loading() -> Iterator[None]:
    """Says what is wrong with workflows and activities that the SDK cannot run, in this block.

    Raises:
        ConfigurationError: Some cannot be run.
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        why, cure = str(error), ""
        if cause := error.__cause__:  # the SDK's own text names the workflow, and nothing else
            why += f": {type(cause).__name__}: {cause}"
            cure = "; a module that the sandbox cannot load may be named in TURNOUT_WORKER__PASS_THROUGH"
        raise ConfigurationError(
            f"{SETTING}: no worker can be made of what is in there: {why}{cure}"
        ) from error


def _polling(most: int) -> PollerBehaviorAutoscaling:
    return PollerBehaviorAutoscaling(maximum=most, initial=min(most, 5))


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


def sandbox(pass_through: Iterable[str] = ()) -> SandboxedWorkflowRunner:
    """What workflows run in, in each worker of ours, and when a history is replayed.

    Each workflow imports its own module anew, and what that imports, but not what is passed through.
    """
    # Models without state, for one. What it saves is measured by tests/bench/sandbox.py.
    restrictions = SandboxRestrictions.default.with_passthrough_modules("activities", *pass_through)
    return SandboxedWorkflowRunner(restrictions=restrictions)


def _things(package: str) -> Sequence[Any]:
    """The workflows and activities in `package` and below."""
    own = (thing for module in _modules(package) for thing in _own(module))
    if things := [thing for thing in own if _is_workflow(thing) or _is_activity(thing)]:
        return things
    msg = (
        f"{SETTING}: {package} defines no workflow (@workflow.defn) and no activity (@activity.defn), "
        "and no module below it does; a folder without __init__.py is not looked into"
    )
    raise ConfigurationError(msg)


def _modules(package: str) -> Iterator[ModuleType]:
    try:
        top = importlib.import_module(package)
        yield top
        for info in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}."):
            yield importlib.import_module(info.name)
    except Exception as error:  # what a team's module does when it is imported is theirs
        cure = f"; {NOT_FOUND}" if isinstance(error, ModuleNotFoundError) else ""
        msg = f"{SETTING}: {package} cannot be imported: {type(error).__name__}: {error}{cure}"
        raise ConfigurationError(msg) from error


def _own(module: ModuleType) -> Iterator[Any]:
    """What is defined in `module` itself, not what it imports."""
    return (thing for thing in vars(module).values() if getattr(thing, "__module__", "") == module.__name__)


def _is_workflow(thing: Any) -> bool:
    return isinstance(thing, type) and workflow._Definition.from_class(thing) is not None  # noqa: SLF001


def _is_activity(thing: Any) -> bool:
    return callable(thing) and activity._Definition.from_callable(thing) is not None  # noqa: SLF001
