"""The build that a worker is, as the Temporal worker controller names it."""

import pytest
from temporalio.common import WorkerDeploymentVersion

from service.errors import ConfigurationError
from service.temporal.versions import deployment_version

NAME, BUILD = "TEMPORAL_DEPLOYMENT_NAME", "TEMPORAL_WORKER_BUILD_ID"


def test_a_worker_is_the_build_that_the_worker_controller_names() -> None:
    found = deployment_version({NAME: "shop/orders", BUILD: "1.4-abc"})
    assert found == WorkerDeploymentVersion("shop/orders", "1.4-abc")


@pytest.mark.parametrize("environment", [{}, {NAME: "", BUILD: ""}, {"TEMPORAL_ADDRESS": "x"}])
def test_a_worker_of_which_nothing_is_named_has_no_version(environment: dict[str, str]) -> None:
    assert deployment_version(environment) is None


@pytest.mark.parametrize(("there", "lacking"), [(NAME, BUILD), (BUILD, NAME)])
def test_one_name_without_the_other_is_refused_with_both_cures(there: str, lacking: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{there} is set and {lacking} is not; set both.*neither"):
        deployment_version({there: "x"})
