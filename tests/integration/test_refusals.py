"""What is not there is said at the start: which setting, where, why, and what to do."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError, TurnoutError, Unreachable
from service.local import LocalTemporal
from service.settings import CallsSettings, KafkaSettings, TemporalSettings, WorkerSettings
from service.wiring import serve
from tests.integration.service import BOTH, Site, site
from tests.servers import create_topic, random_port

ROUTES = """
version: 1
topics:
  @in: {}
routes:
  - name: keep
    from: @in
    start: {workflow: Keep, id: "@id/${data.id}", task_queue: @queue, input: "${data}"}
  - name: answered
    from: @in
    type: answered
    complete: {correlation: "${headers.correlation}", result: "${data}"}
"""

NOWHERE = random_port()


@dataclass(frozen=True)
class Refusal:
    """What is changed about a service that would run, the error, and what its text must name."""

    name: str
    error: type[TurnoutError]
    said: list[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


REFUSALS = [
    Refusal(
        "a broker that is not there",
        Unreachable,
        [f"TURNOUT_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:{NOWHERE}", "refused", "does a broker listen there?"],
        {"kafka": KafkaSettings(bootstrap_servers=f"127.0.0.1:{NOWHERE}")},
    ),
    Refusal(
        "a broker whose name is unknown",
        Unreachable,
        [
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS=no.such.host.invalid:9092",
            "no.such.host.invalid cannot be resolved",
        ],
        {"kafka": KafkaSettings(bootstrap_servers="no.such.host.invalid:9092", allow_insecure=True)},
    ),
    Refusal(
        "a Temporal that is not there",
        Unreachable,
        [f"TEMPORAL_ADDRESS=127.0.0.1:{NOWHERE}", "refused", "does a Temporal frontend listen there"],
        env={"TEMPORAL_ADDRESS": f"127.0.0.1:{NOWHERE}"},
    ),
    Refusal(
        "a namespace that is not there",
        ConfigurationError,
        ["no namespace nowhere", "TEMPORAL_NAMESPACE", "temporal operator namespace create -n nowhere"],
        env={"TEMPORAL_NAMESPACE": "nowhere"},
    ),
    Refusal(
        "no secret for calls",
        ConfigurationError,
        ["route answered completes calls", "set TURNOUT_CALLS__SECRET_FILE"],
        {"calls": CallsSettings()},
    ),
    Refusal(
        "search attributes that are not there",
        ConfigurationError,
        [
            "namespace default lacks search attributes",
            "TURNOUT_TEMPORAL__SEARCH_ATTRIBUTES=false",
            "search-attribute create -n default --name NotThere --type Keyword",
        ],
        {"temporal": TemporalSettings(attribute_route="NotThere")},
    ),
    Refusal(
        "a letter topic that is not there",
        ConfigurationError,
        ["these topics do not exist", "kafka-topics.sh --bootstrap-server", "--topic other.dead-letters"],
        {"group": "other"},
    ),
    Refusal(
        "workflows that are not there",
        ConfigurationError,
        ["TURNOUT_WORKER__MODULES", "no_such_package cannot be imported"],
        {"worker": WorkerSettings(modules="no_such_package")},
    ),
]


@pytest.fixture(scope="module")
async def here(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    async with site(kafka, temporal.address, tmp_path_factory.mktemp("x"), ROUTES, topics=["in"]) as here:
        yield here


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
async def test_what_is_not_there_is_said_with_the_setting_the_place_the_reason_and_the_cure(
    here: Site, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    error = await _refused(here, monkeypatch, dict(refusal.settings), refusal.env)
    assert type(error) is refusal.error
    for words in refusal.said:
        assert words in str(error)


async def test_a_topic_of_the_routes_that_is_not_there_is_named_with_the_command_that_creates_it(
    here: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    routes = tmp_path / "routes.yaml"
    text = here.settings.routes.read_text().replace("topics:", "topics:\n  never.created: {out: true}")
    routes.write_text(text)
    error = await _refused(here, monkeypatch, {"routes": routes})
    assert type(error) is ConfigurationError
    kafka = here.settings.kafka.bootstrap_servers
    assert f"kafka-topics.sh --bootstrap-server {kafka} --create --topic never.created" in str(error)
    assert here.topics["in"] not in str(error)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({"cleanup.policy": "compact"}, "set cleanup.policy=delete"),
        ({}, f"max.message.bytes={(8 << 20) + 65_536}"),
    ],
)
async def test_a_letter_topic_that_would_lose_letters_is_refused(
    here: Site, kafka: str, monkeypatch: pytest.MonkeyPatch, kept: dict[str, str], said: str
) -> None:
    group = f"{here.group}.{len(kept)}"
    await create_topic(kafka, f"{group}.dead-letters", settings=kept)
    error = await _refused(here, monkeypatch, {"group": group})
    assert type(error) is ConfigurationError
    assert said in str(error)


async def _refused(
    here: Site, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], env: Mapping[str, str] | None = None
) -> BaseException:
    """The error that the service ends with instead of starting."""
    for name, value in {"TEMPORAL_ADDRESS": here.temporal, **(env or {})}.items():
        monkeypatch.setenv(name, value)
    settings = here.settings.model_copy(update={"start_timeout": timedelta(), **changes})
    with pytest.raises(TurnoutError) as raised:
        async with asyncio.timeout(30):
            await serve(settings, BOTH, asyncio.Event())
    return raised.value
