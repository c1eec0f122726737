"""A Kafka that asks who one is: with the least rights all works, and where one lacks it is said which."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from activities.ports import ResultEvent
from service.desk import give_up, looking
from service.errors import ConfigurationError, TurnoutError, Unreachable
from service.intake import loop, readiness
from service.kafka import admin as kafka_admin
from service.kafka.reading import reader
from service.kafka.record import Partition
from service.kafka.rights import Right, Who, rules
from service.kafka.survey import survey
from service.local import LocalTemporal
from service.pipeline import kafka_connection, open_sink
from service.redrive.letterbox import Place as RecordPlace
from service.results.looking_back import LookBack
from service.results.publisher import KafkaResultPublisher
from service.routing.table import load_routes
from service.surroundings.checks import Finding
from service.surroundings.needs import needs_of
from service.surroundings.of_kafka import judge_kafka
from service.wiring import serve
from tests.integration.guarded import (
    DESCRIBE,
    DESCRIBE_CONFIGS,
    GROUP,
    LITERAL,
    PREFIXED,
    READ,
    TOPIC,
    WRITE,
    Guarded,
    allow,
    grant,
)
from tests.integration.service import BOTH, ECHOES, Site, headers_of, site


@pytest.fixture
async def here(guarded: Guarded, temporal: LocalTemporal, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose service comes by the guarded door, without any right yet."""
    async with site(guarded.door, temporal.address, tmp_path, ECHOES, partitions=1) as here:
        here.settings = here.settings.model_copy(
            update={"kafka": guarded.settings(), "start_timeout": timedelta()}
        )
        yield here


async def _refused(here: Site, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[type, str]:
    """How the service refuses to start."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", here.temporal)
    monkeypatch.setattr(kafka_admin, "NEW_TOPIC_TRIES", 1)
    with pytest.raises(TurnoutError) as raised:
        async with asyncio.timeout(30):
            await serve(here.settings.model_copy(update=changes), BOTH, asyncio.Event())
    return type(raised.value), str(raised.value)


async def allow_all(here: Site, rights: Iterable[Right]) -> None:
    """Allow these very rights, as they stand in the list."""
    numbers = {"Read": READ, "Write": WRITE, "Describe": DESCRIBE, "DescribeConfigs": DESCRIBE_CONFIGS}
    kinds = {"topic": TOPIC, "group": GROUP}
    for rule in rules(rights):
        for operation in rule.operations:
            pattern = PREFIXED if rule.prefix else LITERAL
            await grant(here, numbers[operation], kinds[rule.kind], rule.name, pattern=pattern)


async def test_the_doctor_names_each_right_that_lacks_and_none_with_those_of_the_list(here: Site) -> None:
    needs = needs_of(here.settings, load_routes(here.settings.routes), "default")
    who = frozenset({Who.BRIDGE, Who.WORKER})
    ours = [right for right in needs.rights if right.who in who]
    connection = kafka_connection(here.settings.kafka)

    async def found() -> list[Finding]:
        seen = await survey(connection, needs.topics, needs.groups)
        session = here.settings.kafka.session_timeout
        return [*judge_kafka(needs, seen, who=who, value_bytes=1 << 24, session_timeout=session)]

    judged = [right for right in ours if right.operation != "DescribeConfigs"]
    lacking = [one for one in await found() if one.code in {"TD203", "TD204"}]
    assert [(one.code == "TD203", one.thing) for one in lacking] == [
        (right.needed, f"{right.kind} {right.name}") for right in judged
    ]
    assert all(
        f"--operation {right.operation}" in one.cure for right, one in zip(judged, lacking, strict=True)
    )
    await allow_all(here, ours)
    # What is for people alone, they may not: to see how results and brokers are set.
    assert {(one.code, one.thing) for one in await found()} == {
        ("TD216", f"topic {here.topics['out']}"),
        ("TD216", "brokers"),
    }
    async with here.running():
        good = await here.send("placed", {"id": "good"})
        bad = await here.send("never.heard.of", {})
        await here.past(good, bad)
        await here.workflow("good").result()
    assert len(await here.letters(bad)) == 1
    assert not [line for line in here.lines if "kafka-acls.sh" in str(line)]


async def test_with_the_least_rights_events_start_workflows_and_results_and_letters_are_written(
    here: Site,
) -> None:
    await allow(here, READ, "in", "group")
    await allow(here, WRITE, "out", "letters")
    async with here.running():
        good = await here.send("placed", {"id": "good"})
        bad = await here.send("never.heard.of", {})
        await here.past(good, bad)
        await here.workflow("good").result()
    assert [record.key for record in await here.read("out")] == [b"good"]
    assert len(await here.letters(bad)) == 1


async def test_topics_that_we_may_not_see_are_named_with_the_right_that_lacks(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await allow(here, WRITE, "out")
    error, text = await _refused(here, monkeypatch)
    assert error is ConfigurationError
    for name, operation in {"in": "Read", "letters": "Write"}.items():
        assert f"--allow-principal User:app --operation {operation} --topic {here.topics[name]}" in text
    assert "app-pw" not in text
    await allow(here, READ, "in")
    _, text = await _refused(here, monkeypatch)
    assert here.topics["in"] not in text
    # Kafka's default and room for the reasons, since we may not see what is set.
    assert f"--topic {here.topics['letters']} --config cleanup.policy=delete" in text
    assert "--config max.message.bytes=1114124" in text


async def test_who_may_write_nowhere_is_told_so(
    here: Site, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, text = await _refused(here, monkeypatch, kafka=guarded.settings(username="stranger"))
    assert error is ConfigurationError
    assert "may not write to any topic" in text
    assert "--allow-principal User:stranger --operation Write --topic TOPIC" in text


async def test_a_group_that_we_may_not_use_is_named_with_the_right_that_lacks(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await allow(here, READ, "in")
    await allow(here, WRITE, "out", "letters")
    error, text = await _refused(here, monkeypatch)
    assert error is ConfigurationError
    assert f"we may not read as group {here.group}" in text
    assert f"--allow-principal User:app --operation Read --group {here.group}" in text


async def test_a_record_is_given_up_on_only_with_the_right_to_its_group_and_each_that_lacks_is_named(
    here: Site,
) -> None:
    await allow(here, READ, "in", "group")
    await allow(here, WRITE, "out", "letters")
    async with here.running():
        await here.past(await here.send("placed", {"id": "before"}))
        lacking = [line["error"] for line in here.lines if line["event"] == "given up records not known"]
        assert f"--operation Read --group {here.group}.given-up" in lacking[0]
    place = await here.send("placed", {"id": "never"})
    where = RecordPlace(Partition(place.topic, place.partition), place.offset)
    with pytest.raises(ConfigurationError, match=f"kafka-acls.sh .* Read --group {here.group}.given-up"):
        await give_up(here.settings, where, "ada", "no use")
    await allow(here, READ, "group.given-up")
    await give_up(here.settings, where, "ada", "no use")
    async with here.running():
        await here.past(place)
    (letter,) = await here.letters(place)
    assert headers_of(letter)["turnout-stage"] == "person"
    with pytest.raises(ConfigurationError, match=f"kafka-acls.sh .* Read --group {here.group}.letters"):
        async with looking(here.settings):
            pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": SecretStr("wrong-pw")}, "it knows no user 'app' with this password for PLAIN"),
        ({"tls_ca_file": None}, "is not vouched for by the authorities of the system"),
    ],
)
async def test_who_cannot_log_in_is_told_why(
    here: Site, guarded: Guarded, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    error, text = await _refused(here, monkeypatch, kafka=guarded.settings(**change))
    assert error is Unreachable
    assert said in text
    assert "wrong-pw" not in text


async def test_a_right_that_lacks_later_is_waited_for_and_named(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.2)
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.1)
    await allow(here, READ, "group")
    await allow(here, DESCRIBE, "in", "letters")
    await allow(here, WRITE, "out")
    async with here.running():
        bad = await here.send("never.heard.of", {})
        await here.until(lambda: _is_told(here, f"--operation Read --topic {here.topics['in']}"))
        assert not here.said(bad)
        await allow(here, READ, "in")
        await here.until(lambda: _is_told(here, f"--operation Write --topic {here.topics['letters']}"))
        assert not any((await here.committed()).values())
        await allow(here, WRITE, "letters")
        await here.past(bad)
    (letter,) = await here.letters(bad)
    assert headers_of(letter)["turnout-stage"] == "route"


async def _is_told(here: Site, command: str) -> bool:
    told = [str(line.get("error") or line.get("answer")) for line in here.lines]
    return any("kafka-acls.sh" in text and command in text for text in told)


async def test_without_the_right_to_read_results_they_are_written_without_a_look_and_the_right_is_named(
    here: Site,
) -> None:
    await allow(here, WRITE, "out")
    connection = kafka_connection(here.settings.kafka)
    async with open_sink(here.settings, connection, asyncio.Event()) as sink:
        publisher = KafkaResultPublisher(sink, LookBack(partial(reader, connection, "read_uncommitted")))
        event = ResultEvent(
            topic=here.topics["out"],
            id="e-1",
            source="/tests",
            type="told",
            subject="A",
            time="2026-11-24T12:00:00Z",
            data=1,
            tried_since=datetime.now(UTC),
        )
        first = await publisher.publish(event)
        assert (await publisher.publish(event)).offset == first.offset + 1
        told = {str(line.get("reason")) for line in here.lines}
        assert any(f"--operation Read --topic {here.topics['out']}" in text for text in told)
        await allow(here, READ, "out")

        async def is_found() -> bool:
            return await publisher.publish(event) == first

        await here.until(is_found)
