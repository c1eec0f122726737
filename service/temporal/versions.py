"""Worker deployments: which build of the code this worker is, for Temporal to route workflows by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    WorkerDeploymentConfig,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)

from service.errors import ConfigurationError

DEPLOYMENT, BUILD = "TEMPORAL_DEPLOYMENT_NAME", "TEMPORAL_WORKER_BUILD_ID"
"""What the Temporal worker controller sets for each build (temporal-worker-controller, internal/k8s)."""


def deployment_version(environment: Mapping[str, str]) -> WorkerDeploymentVersion | None:
    """The deployment and build that this process is; None where `environment` names neither.

    Raises:
        ConfigurationError: It names one of the two alone.
    """
    name, build = environment.get(DEPLOYMENT, "").strip(), environment.get(BUILD, "").strip()
    if not name and not build:
        return None
    if not (name and build):
        there, lacking = (DEPLOYMENT, BUILD) if name else (BUILD, DEPLOYMENT)
        msg = (
            f"{there} is set and {lacking} is not; set both, as the Temporal worker controller does, "
            "or neither for a worker without versions"
        )
        raise ConfigurationError(msg)
    return WorkerDeploymentVersion(deployment_name=name, build_id=build)


def versioned_as(version: WorkerDeploymentVersion) -> WorkerDeploymentConfig:
    """A worker's place in its deployment: a workflow keeps its build unless its `defn` says otherwise."""
    return WorkerDeploymentConfig(
        version=version,
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


@dataclass(frozen=True)
class Unversioned(WorkflowRunner):
    """Runs workflows in a worker without a version, also those whose `defn` names a `versioning_behavior`.

    Without it each of their tasks would fail for ever: Temporal answers INVALID_ARGUMENT "versioning
    behavior cannot be specified without deployment options" (seen with server 1.32, SDK 1.35).
    """

    runner: WorkflowRunner

    def prepare_workflow(self, defn: workflow._Definition) -> None:
        """See `WorkflowRunner`."""
        self.runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See `WorkflowRunner`."""
        return _WithoutBehavior(self.runner.create_instance(det))

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        """See `WorkflowRunner`."""
        self.runner.set_worker_level_failure_exception_types(types)


class _WithoutBehavior(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = self._instance.activate(act)
        if completion.HasField("successful"):
            completion.successful.ClearField("versioning_behavior")
        return completion

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> workflow.Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
