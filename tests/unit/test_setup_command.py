"""`turnout setup` as a command: what it prints without servers, and what it waits for with them."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML
from temporalio.service import RPCError, RPCStatusCode

from service.cli import app as app_module
from service.errors import Unreachable
from service.local import free_port
from service.surroundings import making
from service.surroundings.making import Thing, make_attributes
from service.surroundings.wanted import Choices
from service.temporal.survey import SeenNamespace, SeenTemporal
from tests.unit.surroundings import KEYWORD, NEEDS, OURS, TEMPORAL

ROUTES = """\
version: 1
topics: {orders: {}, results: {out: true}}
routes:
  - {name: placed, from: orders, type: a, start: {workflow: W, id: w, task_queue: q}}
"""
Capture = pytest.CaptureFixture[str]


def turnout(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str, **environment: str) -> int:
    for name in [name for name in os.environ if name.startswith(("TURNOUT_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    (folder / "routes.yaml").write_text(ROUTES)
    known = {"TURNOUT_GROUP": "shop", "TURNOUT_ROUTES": str(folder / "routes.yaml")}
    for name, value in (known | environment).items():
        monkeypatch.setenv(name, value)
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", "setup", *arguments])
    app_module.main()
    return codes[0]


NOBODY = {"TURNOUT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "TEMPORAL_ADDRESS": "127.0.0.1:1"}


@pytest.mark.parametrize("kind", ["commands", "strimzi", "terraform"])
def test_what_is_printed_needs_no_servers_and_is_of_the_letters_alone_unless_all_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture, kind: str
) -> None:
    made = {"commands": "--create --topic", "strimzi": "kind: KafkaTopic", "terraform": '"kafka_topic"'}[kind]
    assert turnout(monkeypatch, tmp_path, "--print", kind, **NOBODY) == 0
    assert capsys.readouterr().out.count(made) == 1
    assert turnout(monkeypatch, tmp_path, "--print", kind, "--topics", **NOBODY) == 0
    assert capsys.readouterr().out.count(made) == 3


def test_the_rights_of_one_of_them_are_printed_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    assert turnout(monkeypatch, tmp_path, "--print", "commands", "--who", "worker", "--principal", "w") == 0
    acls = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kafka-acls.sh")]
    (acl,) = acls
    assert acl.endswith("--allow-principal User:w --operation Write --operation Read --topic results")


def test_the_user_logs_in_at_strimzi_as_the_settings_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    login = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "USERNAME": "bridge",
        "PASSWORD": "never-said",
    }
    environment = {f"TURNOUT_KAFKA__{name}": value for name, value in login.items()}
    assert turnout(monkeypatch, tmp_path, "--print", "strimzi", "--cluster", "main", **environment) == 0
    text = capsys.readouterr().out
    *_, user = YAML(typ="safe", pure=True).load_all(text)
    assert user["metadata"] == {"name": "bridge", "labels": {"strimzi.io/cluster": "main"}}
    assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
    assert "never-said" not in text


def test_a_kafka_that_is_not_there_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    nobody = {"TURNOUT_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port(31_900)}"}
    assert turnout(monkeypatch, tmp_path, **nobody) == 3
    assert "does a broker listen there?" in capsys.readouterr().err


class Registering:
    """A Temporal that registers search attributes, and answers questions about them as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, refusal: RPCError | None = None) -> None:
        self.registered: dict[str, Any] = dict(TEMPORAL.namespaces["default"].attributes)  # type: ignore[union-attr]
        self.refusal = refusal
        self.unknown_for = 0
        self.asked = 0
        monkeypatch.setattr(making, "survey", self._survey)
        monkeypatch.setattr(making, "search_attributes", self._attributes)
        monkeypatch.setattr(making, "RETRY_SECONDS", 0.001)
        self.operator_service = SimpleNamespace(add_search_attributes=self._add)
        self.workflow_service = SimpleNamespace(count_workflow_executions=self._count)
        self.service_client = SimpleNamespace(config=SimpleNamespace(target_host="t:7233"))

    async def _survey(self, *_: object) -> SeenTemporal:
        namespace = TEMPORAL.namespaces["default"]
        assert namespace
        return SeenTemporal("1", {"default": SeenNamespace(namespace.retention, dict(self.registered))})

    async def _attributes(self, *_: object) -> dict[str, Any]:
        return self.registered

    async def _add(self, request: Any) -> None:
        if self.refusal:
            raise self.refusal
        self.registered |= dict(request.search_attributes)

    async def _count(self, request: Any) -> None:
        self.asked += 1
        if self.asked <= self.unknown_for:
            raise RPCError(f"no mapping for {request.query}", RPCStatusCode.INVALID_ARGUMENT, b"")

    async def things(self, *, dry: bool = False, **types: str) -> dict[str, Thing]:
        client: Any = self
        made = make_attributes(client, NEEDS, Choices(types=types), dry=dry)
        return {thing.what.removesuffix(" in default"): thing async for thing in made}


async def test_a_search_attribute_is_made_once_the_server_takes_it_in_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporal = Registering(monkeypatch)
    for name in OURS:
        del temporal.registered[name]
    temporal.unknown_for = 3
    things = await temporal.things()
    assert {things[f"search attribute {name}"].state for name in OURS} == {"made"}
    assert things["search attribute OrderNumber"].state == "exists"
    assert {temporal.registered[name] for name in OURS} == {KEYWORD}
    assert temporal.asked == 4


async def test_one_that_never_can_be_used_ends_the_command_and_is_no_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporal = Registering(monkeypatch)
    del temporal.registered["TurnoutRoute"]
    temporal.unknown_for = 1 << 30
    monkeypatch.setattr(making, "USABLE_SECONDS", 0.05)
    with pytest.raises(Unreachable, match=r"cannot be used after .* no mapping for `TurnoutRoute` IS NULL"):
        await temporal.things()


async def test_what_temporal_refuses_is_said_with_another_way_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = RPCError("cannot have more than 10", RPCStatusCode.INVALID_ARGUMENT, b"")
    temporal = Registering(monkeypatch, refusal=over)
    del temporal.registered["TurnoutRoute"]
    things = await temporal.things()
    refused = things["search attribute TurnoutRoute"]
    assert (refused.state, refused.problem) == (
        "refused",
        "Temporal answered INVALID_ARGUMENT: cannot have more than 10",
    )
    assert "--print terraform" in refused.cure
    assert things["search attribute TurnoutRecord"].state == "exists"


async def test_a_temporal_that_goes_away_meanwhile_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    temporal = Registering(monkeypatch, refusal=RPCError("gone", RPCStatusCode.UNAVAILABLE, b""))
    del temporal.registered["TurnoutRoute"]
    with pytest.raises(Unreachable, match="t:7233 answered UNAVAILABLE"):
        await temporal.things()


async def test_a_type_that_was_said_otherwise_than_it_is_registered_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    things = await Registering(monkeypatch).things(OrderNumber="Int")
    differs = things["search attribute OrderNumber"]
    assert (differs.state, differs.problem) == ("differs", "it is of type Keyword, not Int")


async def test_a_dry_run_registers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    temporal = Registering(monkeypatch)
    del temporal.registered["TurnoutRoute"]
    assert (await temporal.things(dry=True))["search attribute TurnoutRoute"].state == "lacks"
    assert "TurnoutRoute" not in temporal.registered
