"""Temporal behind a door with TLS that asks for certificates: failures say why, and renewal works."""

import shutil
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from service.errors import ConfigurationError, Unreachable
from service.local import HOST, LocalTemporal
from service.temporal import renewal
from service.temporal.access import Access
from service.temporal.client import connect
from tests.certificates import Authority
from tests.integration.service import ECHOES, site
from tests.integration.tls_proxy import Door, tls_door
from tests.servers import random_port


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    ours, other = Authority("ca"), Authority("otherca")
    (folder / "ca.pem").write_bytes(ours.certificate)
    (folder / "otherca.pem").write_bytes(other.certificate)
    for name in ("broker", "app", "app-new"):
        ours.issue(name).write(folder, name)
    ours.issue("old", valid=timedelta(hours=-1)).write(folder, "old")
    other.issue("app").write(folder, "other")
    return folder


@pytest.fixture(scope="module")
async def door(temporal: LocalTemporal, folder: Path) -> AsyncIterator[Door]:
    async with tls_door(temporal.address, folder) as door:
        yield door


def environment(folder: Path, ca: str = "ca", cert: str = "app", **more: str) -> dict[str, str]:
    paths = {
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH": ca and f"{ca}.pem",
        "TEMPORAL_TLS_CLIENT_CERT_PATH": cert and f"{cert}.pem",
        "TEMPORAL_TLS_CLIENT_KEY_PATH": cert and f"{cert}.key",
    }
    return {name: str(folder / file) for name, file in paths.items() if file} | more


async def reached(
    address: str, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, access: Access | None = None
) -> str:
    """The namespace that is reached; raises as the service does."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return (await connect(access or Access())).namespace


async def test_who_has_the_right_certificates_comes_in(
    door: Door, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await reached(door.address, environment(folder), monkeypatch) == "default"
    assert door.names[-1] == "app"


CASES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "unknown authority": ({"ca": "otherca"}, "not vouched for by TEMPORAL_TLS_SERVER_CA_CERT_PATH; set"),
    "authorities of the system": (
        {"ca": "", "cert": "", "TEMPORAL_TLS": "true"},
        "not vouched for by the authorities of the system; set TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    ),
    "another name": (
        {"TEMPORAL_TLS_SERVER_NAME": "temporal.example"},
        "is not for this address; set TEMPORAL_TLS_SERVER_NAME",
    ),
    "no certificate": ({"cert": ""}, "it asks for our certificate; set TEMPORAL_TLS_CLIENT_CERT_PATH"),
    "certificate of another authority": ({"cert": "other"}, "it does not take our certificate"),
    "certificate that has expired": ({"cert": "old"}, "it does not take our certificate .* has expired"),
    "no TLS": ({"ca": "", "cert": ""}, r"it expects TLS \(TEMPORAL_TLS=true\)"),
    "key of another certificate": (
        {"TEMPORAL_TLS_CLIENT_KEY_PATH": "other.key"},
        "TEMPORAL_TLS_CLIENT_KEY_PATH is not the key of the certificate in TEMPORAL_TLS_CLIENT_CERT_PATH",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_who_is_not_let_in_is_told_why_and_what_to_do(
    door: Door, folder: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    changes, said = CASES[case]
    settings = environment(folder, **changes)
    if "TEMPORAL_TLS_CLIENT_KEY_PATH" in changes:
        settings["TEMPORAL_TLS_CLIENT_KEY_PATH"] = str(folder / changes["TEMPORAL_TLS_CLIENT_KEY_PATH"])
    with pytest.raises(Unreachable, match=said) as raised:
        await reached(door.address, settings, monkeypatch)
    assert len(str(raised.value)) < 800


async def test_a_frontend_without_tls_or_with_an_old_certificate_or_none_at_all_is_named(
    temporal: LocalTemporal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="it does not speak TLS; use its TLS port, or TEMPORAL_TLS=false"):
        await reached(temporal.address, environment(folder), monkeypatch)
    with pytest.raises(Unreachable, match="refused: does a Temporal frontend listen there"):
        await reached(f"{HOST}:{random_port()}", environment(folder), monkeypatch)
    async with tls_door(temporal.address, folder, certificate="old") as door:
        with pytest.raises(Unreachable, match="its certificate has expired; the frontend needs a new one"):
            await reached(door.address, environment(folder), monkeypatch)


async def test_what_can_be_no_way_to_temporal_is_refused_before_any_call(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_text("nothing")
    for settings, said in (
        ({"TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(nothing)}, "CA_CERT_PATH .or …_DATA. holds no certificate"),
        (
            {"TEMPORAL_TLS_CLIENT_CERT_PATH": str(folder / "app.pem")},
            "needs TEMPORAL_TLS_CLIENT_KEY_PATH",
        ),
        ({"TEMPORAL_TLS_CLIENT_CERT_PATH": str(tmp_path / "absent")}, "cannot be used: .*absent"),
        ({}, "the way to Temporal at TEMPORAL_ADDRESS=temporal.shop:7233 is not encrypted; set TEMPORAL_TLS"),
    ):
        with monkeypatch.context() as patched, pytest.raises(ConfigurationError, match=said):
            await reached("temporal.shop:7233", settings, patched)
    for access, more, said in (
        (Access(api_key_file=nothing), {"TEMPORAL_API_KEY": "k"}, "not both"),
        (Access(api_key_file=nothing), {"TEMPORAL_TLS": "false"}, "is not encrypted"),
        (Access(api_key_file=tmp_path / "absent"), {}, "API_KEY_FILE=.* cannot be read"),
    ):
        with monkeypatch.context() as patched, pytest.raises(ConfigurationError, match=said):
            await reached("temporal.shop:7233", more, patched, access)


async def test_a_certificate_is_replaced_while_workflows_run(
    door: Door,
    folder: Path,
    kafka: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def present(name: str) -> None:
        for kind in ("pem", "key"):
            shutil.copy(folder / f"{name}.{kind}", tmp_path / f"our.{kind}")

    monkeypatch.setattr(renewal, "LOOK_SECONDS", 0.1)
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", str(tmp_path / "our.pem"))
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_KEY_PATH", str(tmp_path / "our.key"))
    present("app")
    async with site(kafka, door.address, tmp_path, ECHOES, partitions=1) as here:

        async def says(event: str) -> bool:
            return any(line["event"] == event for line in here.lines)

        async with here.running():
            await here.past(await here.send("placed", {"id": "before"}))
            present("other")
            await here.until(lambda: says("changed secrets for Temporal cannot be used yet"))
            await here.past(await here.send("placed", {"id": "meanwhile"}))
            present("app-new")
            await here.until(lambda: says("changed certificates are used for Temporal"))
            door.names.clear()
            door.cut()  # what comes again, comes with what it has now
            await here.past(await here.send("placed", {"id": "after"}))

            async def all_out() -> bool:
                return {record.key for record in await here.read("out")} == {
                    b"before",
                    b"meanwhile",
                    b"after",
                }

            await here.until(all_out)
    assert set(door.names) == {"app-new"}
