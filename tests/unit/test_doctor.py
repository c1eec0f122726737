"""What `turnout doctor` finds: of each kind of finding the smallest thing that is wrong, and nothing else."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli import app as app_module
from service.declarations import ByTopic
from service.kafka.rights import Right, Who
from service.kafka.survey import SeenKafka, SeenTopic, Unseen
from service.local import free_port
from service.surroundings.asking import ask
from service.surroundings.checks import CHECKS, DOWN, Finding, Severity, table_of_checks
from service.surroundings.needs import Needs, Reading
from service.surroundings.of_kafka import judge_kafka
from service.surroundings.of_retention import judge_retention
from service.surroundings.of_settings import examine, judge_versions
from service.surroundings.of_temporal import judge_temporal
from service.surroundings.spans import days
from service.temporal.survey import SeenQueue, SeenTemporal
from tests.unit.registry_server import RegistryServer
from tests.unit.surroundings import (
    DAY_MS,
    KAFKA,
    MAY_ALL,
    NEEDS,
    NOW,
    SETTINGS,
    TEMPORAL,
    kafka,
    temporal,
    with_attribute,
    with_brokers,
    with_group,
    with_topic,
    without_topic,
)

PAGE = Path(__file__).parents[2] / "docs" / "setup.md"
BOTH = frozenset({Who.BRIDGE, Who.WORKER})
Capture = pytest.CaptureFixture[str]


def of_kafka(
    seen: SeenKafka, needs: Needs = NEEDS, *, who: frozenset[Who] = BOTH, session_seconds: float = 45
) -> list[Finding]:
    session = timedelta(seconds=session_seconds)
    return list(judge_kafka(needs, seen, who=who, value_bytes=1 << 20, session_timeout=session))


def codes(findings: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_a_topic_that_a_pattern_matches_is_looked_at_as_one_that_is_named() -> None:
    readings = ByTopic({"orders": Reading(), "tenant-*": Reading(starts=frozenset({"default"}))})
    right = Right("Read", "topic", "tenant-", Who.BRIDGE, "its events", prefix=True)
    needs = replace(NEEDS, declared=readings, rights=[right]).with_topics(["orders", "tenant-a", "other"])
    large = SETTINGS | {"max.message.bytes": "20000000", "cleanup.policy": "compact"}
    seen = kafka(topics={**KAFKA.topics, "tenant-a": SeenTopic(3, 3, MAY_ALL - {"Read"}, large)})
    found = {one.code: one for one in of_kafka(seen, needs)}
    assert set(found) == {"TD203", "TD205", "TD207", "TD212"}
    assert "--topic tenant- --resource-pattern-type prefixed" in found["TD203"].cure


def test_a_deployment_that_has_all_it_needs_has_no_finding() -> None:
    assert of_kafka(KAFKA) == []
    assert list(judge_temporal(NEEDS, TEMPORAL, NOW)) == []
    assert list(judge_retention(NEEDS, KAFKA, TEMPORAL)) == []


COMPACT = {"cleanup.policy": "compact,delete"}

OF_KAFKA = [
    ("TD202", without_topic("orders", Unseen.MISSING), "topic orders", "turnout setup --topics"),
    ("TD202", without_topic("shop.dead-letters", Unseen.MISSING), "topic shop.dead-letters", "turnout setup"),
    ("TD203", without_topic("orders", Unseen.HIDDEN), "topic orders", "--operation Read --topic orders"),
    (
        "TD203",
        with_topic("shop.dead-letters", may=frozenset({"Read", "Describe"})),
        "topic shop.dead-letters",
        "--add --allow-principal User:app --operation Write --topic shop.dead-letters",
    ),
    ("TD203", with_group("shop", Unseen.HIDDEN), "group shop", "--operation Read --group shop"),
    ("TD203", with_group("shop", frozenset({"Describe"})), "group shop", "--operation Read --group shop"),
    ("TD204", with_group("shop.routes", Unseen.HIDDEN), "group shop.routes", "--group shop.routes"),
    (
        "TD205",
        with_topic("shop.dead-letters", settings=COMPACT),
        "topic shop.dead-letters",
        "--add-config cleanup.policy=delete",
    ),
    (
        "TD206",
        with_topic("shop.dead-letters", settings={"retention.ms": str(DAY_MS)}),
        "topic shop.dead-letters",
        f"--add-config retention.ms={7 * DAY_MS}",
    ),
    ("TD207", with_topic("orders", settings=COMPACT), "topic orders", "tombstones: skip"),
    ("TD208", with_topic("results", settings=COMPACT), "topic results", "cleanup.policy=delete"),
    ("TD209", with_topic("results", settings={"min.insync.replicas": "4"}), "topic results", "replicas=2"),
    ("TD210", with_topic("results", settings={"min.insync.replicas": "1"}), "topic results", "replicas=2"),
    ("TD210", with_topic("orders", replicas=1), "topic orders", "kafka-reassign-partitions.sh"),
    (
        "TD211",
        with_topic("orders", settings={"unclean.leader.election.enable": "true"}),
        "topic orders",
        "unclean.leader.election.enable=false",
    ),
    ("TD213", with_brokers({"group.min.session.timeout.ms": "60000"}), "brokers", "SESSION_TIMEOUT"),
    ("TD213", with_brokers({"group.max.session.timeout.ms": "30000"}), "brokers", "SESSION_TIMEOUT"),
    ("TD214", with_brokers({"offset.metadata.max.bytes": "1000"}), "brokers", "max.bytes=4096"),
    ("TD215", with_brokers({"auto.create.topics.enable": "true"}), "brokers", "set it to false"),
    ("TD216", kafka(settings=[{}, {}, {}]), "brokers", "DescribeConfigs --cluster"),
    ("TD217", kafka(versions={3: range(9)}), "brokers", "2.8"),
    (
        "TD218",
        with_topic("orders", settings={"message.timestamp.type": "LogAppendTime"}),
        "topic orders",
        "nothing has to be done",
    ),
    ("TD503", kafka(ahead=["orders"]), "topic orders", "NTP"),
]


@pytest.mark.parametrize(("code", "seen", "thing", "cure"), OF_KAFKA)
def test_each_thing_wrong_with_kafka_is_found_with_its_cure(
    code: str, seen: SeenKafka, thing: str, cure: str
) -> None:
    (finding,) = of_kafka(seen)
    assert (finding.code, finding.thing) == (code, thing)
    assert cure in finding.cure


def test_a_topic_that_takes_larger_values_than_we_do_is_found() -> None:
    # The letter topic must take them, too.
    seen = with_topic("orders", settings={"max.message.bytes": "4000000"})
    larger, letters = of_kafka(seen)
    assert (larger.code, larger.thing) == ("TD212", "topic orders")
    assert "TURNOUT_INTAKE__VALUE_BYTES=4000000" in larger.cure
    assert (letters.code, letters.thing) == ("TD205", "topic shop.dead-letters")
    assert "max.message.bytes=4065536" in letters.cure


def test_what_is_wrong_with_all_brokers_is_said_once() -> None:
    assert codes(of_kafka(kafka(settings=[{"auto.create.topics.enable": "true"}] * 3))) == ["TD215"]


def test_a_topic_whose_settings_are_hidden_is_not_judged_by_them_but_named() -> None:
    topic = KAFKA.topics["results"]
    assert isinstance(topic, SeenTopic)
    (finding,) = of_kafka(kafka(topics={**KAFKA.topics, "results": replace(topic, settings={})}))
    assert (finding.code, finding.thing) == ("TD216", "topic results")
    assert "--operation DescribeConfigs --topic results" in finding.cure


def test_a_compacted_topic_whose_file_says_what_tombstones_mean_is_well() -> None:
    needs = replace(NEEDS, read={**NEEDS.read, "orders": Reading(tombstones=True)})
    assert of_kafka(with_topic("orders", settings=COMPACT), needs) == []


def test_rights_are_judged_of_those_in_whose_place_we_are() -> None:
    seen = with_topic("results", may=frozenset({"Describe"}))
    assert codes(of_kafka(seen)) == ["TD203", "TD203", "TD204", "TD204"]
    (needed, better) = of_kafka(seen, who=frozenset({Who.WORKER}))
    assert "worker: results, requests" in needed.problem
    assert "tried again" in better.problem
    assert of_kafka(seen, who=frozenset()) == []


def test_where_brokers_do_not_tell_our_rights_none_is_said_to_lack() -> None:
    topics = {
        name: replace(topic, may=None) for name, topic in KAFKA.topics.items() if isinstance(topic, SeenTopic)
    }
    assert of_kafka(kafka(topics=topics, groups=dict.fromkeys(NEEDS.groups))) == []


def test_one_broker_is_not_asked_for_more_replicas() -> None:
    topics = {
        name: replace(topic, replicas=1, settings={**topic.settings, "min.insync.replicas": "1"})
        for name, topic in KAFKA.topics.items()
        if isinstance(topic, SeenTopic)
    }
    assert of_kafka(kafka(brokers=1, topics=topics)) == []


OF_TEMPORAL = [
    ("TD302", SeenTemporal("1.32.0", {"default": None}), "namespace default", "namespace create -n default"),
    (
        "TD303",
        with_attribute("TurnoutRoute", None),
        "namespace default",
        "--name TurnoutRoute --type Keyword",
    ),
    (
        "TD304",
        with_attribute("TurnoutRoute", "Text"),
        "namespace default",
        "TURNOUT_TEMPORAL__ATTRIBUTE_ROUTE",
    ),
    (
        "TD305",
        with_attribute("OrderNumber", None),
        "namespace default",
        "turnout setup --attribute OrderNumber=",
    ),
    ("TD306", with_attribute("OrderNumber", "Text"), "namespace default", "Keyword, Int or Bool"),
    (
        "TD307",
        temporal(queues={"fulfilment": SeenQueue(0)}),
        "task queue fulfilment in default",
        "start its workers",
    ),
    (
        "TD308",
        temporal(queues={"turnout.shop": SeenQueue(0)}),
        "task queue turnout.shop in default",
        "turnout bridge",
    ),
    ("TD310", temporal("1.31.9"), "Temporal", "1.32"),
    (
        "TD504",
        temporal(queues={"fulfilment": SeenQueue(1, NOW + timedelta(seconds=6))}),
        "namespace default",
        "NTP",
    ),
]


@pytest.mark.parametrize(("code", "seen", "thing", "cure"), OF_TEMPORAL)
def test_each_thing_wrong_with_temporal_is_found_with_its_cure(
    code: str, seen: SeenTemporal, thing: str, cure: str
) -> None:
    (finding,) = judge_temporal(NEEDS, seen, NOW)
    assert (finding.code, finding.thing) == (code, thing)
    assert cure in finding.cure


def test_a_server_whose_version_is_no_number_is_not_judged_by_it() -> None:
    assert list(judge_temporal(NEEDS, temporal("cloud"), NOW)) == []
    assert list(judge_temporal(NEEDS, temporal("1.100.0"), NOW)) == []


def kept(days_: float) -> dict[str, str]:
    return {"retention.ms": str(int(days_ * DAY_MS))}


LONG = temporal(retention=timedelta(days=400))

OF_RETENTION = [
    ("TD401", with_topic("orders", settings=kept(0.5)), LONG, "topic orders", "retention.ms=604800000"),
    ("TD402", with_topic("orders", settings={"retention.bytes": "9"}), LONG, "topic orders", "bytes=-1"),
    (
        "TD403",
        with_topic("orders", settings=kept(6.5)),
        temporal(retention=timedelta(days=1)),
        "topic orders",
        "temporal operator namespace update -n default --retention 156h",
    ),
    (
        "TD404",
        with_topic("orders", settings=kept(8)),
        LONG,
        "topic orders",
        "offsets.retention.minutes=11520",
    ),
    ("TD404", with_topic("orders", settings={"retention.ms": "-1"}), None, "topic orders", "=525600"),
    (
        "TD405",
        with_topic("shop.dead-letters", settings=kept(30)),
        TEMPORAL,
        "topic shop.dead-letters",
        "--retention 720h",
    ),
]


@pytest.mark.parametrize(("code", "seen", "of_temporal", "thing", "cure"), OF_RETENTION)
def test_what_is_kept_too_short_or_too_long_is_found_with_its_cure(
    code: str, seen: SeenKafka, of_temporal: SeenTemporal | None, thing: str, cure: str
) -> None:
    found = [one for one in judge_retention(NEEDS, seen, of_temporal) if one.code == code]
    assert [one.thing for one in found] == [thing]
    assert cure in found[0].cure


def test_records_of_a_topic_that_starts_nothing_may_outlive_what_temporal_remembers() -> None:
    needs = replace(NEEDS, read={"orders": Reading()})
    seen = kafka(topics={name: topic for name, topic in KAFKA.topics.items() if name != "shop.dead-letters"})
    assert list(judge_retention(needs, seen, temporal(retention=timedelta(days=1)))) == []


@given(st.integers(0, 10**12), st.integers(1, 10**6), st.integers(1, 10**4))
def test_what_a_cure_names_leaves_nothing_to_cure(topic_ms: int, minutes: int, hours: int) -> None:
    def wrong(minutes: int, hours: int) -> dict[str, str]:
        seen = with_topic("orders", settings={"retention.ms": str(topic_ms)})
        seen = replace(seen, settings=[{"offsets.retention.minutes": str(minutes)}])
        found = judge_retention(NEEDS, seen, temporal(retention=timedelta(hours=hours)))
        return {one.code: one.cure for one in found if one.thing == "topic orders"}

    cures = wrong(minutes, hours)
    if number := re.search(r"offsets.retention.minutes=(\d+)", cures.get("TD404", "")):
        minutes = int(number[1])
    if number := re.search(r"--retention (\d+)h", cures.get("TD403", "")):
        hours = int(number[1])
    assert not {"TD403", "TD404"} & wrong(minutes, hours).keys()


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [(-1, "for ever"), (DAY_MS, "1 day"), (90_000_000, "1.04 days"), (7_200_000, "2 hours"), (999, "999 ms")],
)
def test_spans_are_said_as_people_say_them(milliseconds: int, said: str) -> None:
    assert days(milliseconds) == said


# --- what settings alone tell ---

ROUTES = """\
version: 1
topics: {orders: {}, results: {out: true}}
routes:
  - {name: placed, from: orders, type: a, start: {workflow: W, id: w, task_queue: q}}
"""
CLOSING = ROUTES.replace("task_queue: q", "task_queue: q, publish_closing: results")
COMPLETING = (
    ROUTES
    + "  - {name: answered, from: orders, complete: {correlation: '${headers[\"c\"]}', result: '${data}'}}\n"
)
AVRO = ROUTES.replace("orders: {}", "orders: {format: avro}")


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is to be found."""
    for name in [name for name in os.environ if name.startswith(("TURNOUT_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "routes.yaml").write_text(ROUTES)
    return {
        "TURNOUT_GROUP": "shop",
        "TURNOUT_ROUTES": str(tmp_path / "routes.yaml"),
        "TURNOUT_TEMPORAL__UI_URL": "http://ui",
        "TURNOUT_HEALTH__ADDRESS": "127.0.0.1:8080",
        "TURNOUT_METRICS__ADDRESS": "127.0.0.1:9090",
    }


def write_routes(env: Mapping[str, str], text: str) -> None:
    Path(env["TURNOUT_ROUTES"]).write_text(text)


def found(monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str], **changes: str) -> list[Finding]:
    for name, value in {**env, **changes}.items():
        monkeypatch.setenv(name, value)
    return list(examine(os.environ).findings)


def test_right_settings_and_routes_have_no_finding(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    assert found(monkeypatch, env) == []


OF_SETTINGS: list[tuple[str, str, dict[str, str], str]] = [
    ("TD101", ROUTES, {"TURNOUT_KAFKA__SESSION_TIMEOUT": "soon"}, "30s"),
    ("TD101", ROUTES, {"TURNOUT_GRUOP": "x"}, "did you mean TURNOUT_GROUP?"),
    ("TD102", ROUTES, {"TEMPORAL_PROFILE": "none"}, ""),
    ("TD103", ROUTES.replace("from: orders", "from: oders"), {}, ""),
    ("TD104", ROUTES, {"TURNOUT_WORKER__MODULES": "never.heard.of"}, "PYTHONPATH"),
    ("TD104", ROUTES, {"TEMPORAL_DEPLOYMENT_NAME": "shop"}, "set both"),
    ("TD105", CLOSING, {}, "TURNOUT_CLOSING__SECRET_FILE"),
    ("TD105", COMPLETING, {}, "TURNOUT_CALLS__SECRET_FILE"),
    ("TD105", ROUTES, {"TURNOUT_CALLS__SECRET_FILE": "/nowhere"}, ""),
    (
        "TD105",
        ROUTES,
        {"TURNOUT_KAFKA__SECURITY_PROTOCOL": "SSL", "TURNOUT_KAFKA__TLS_CA_FILE": "/nowhere"},
        "",
    ),
    ("TD106", AVRO, {}, "TURNOUT_REGISTRY__URL"),
    ("TD107", ROUTES, {"TURNOUT_INTAKE__VALUE_BYTES": "3000000"}, "lower it"),
    (
        "TD108",
        CLOSING,
        {
            "TURNOUT_CLOSING__SECRET": "s",
            "TEMPORAL_ADDRESS": "temporal.shop:7233",
            "TURNOUT_TEMPORAL__ALLOW_INSECURE": "true",
        },
        "TURNOUT_CLOSING__URL",
    ),
    (
        "TD109",
        ROUTES,
        {
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1,k.shop:9092",
            "TURNOUT_KAFKA__ALLOW_INSECURE": "true",
        },
        "SASL_SSL",
    ),
    ("TD110", ROUTES, {"TURNOUT_TEMPORAL__UI_URL": ""}, "https://"),
    ("TD111", ROUTES, {"TURNOUT_HEALTH__ADDRESS": ""}, "TURNOUT_HEALTH__ADDRESS=127.0.0.1:8080"),
    ("TD113", ROUTES, {"TURNOUT_KAFKA__SESSION_TIMEOUT": "6s"}, "45s"),
]


@pytest.mark.parametrize(("code", "routes", "changes", "cure"), OF_SETTINGS)
def test_each_thing_wrong_with_settings_and_routes_is_found_without_asking(
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    code: str,
    routes: str,
    changes: dict[str, str],
    cure: str,
) -> None:
    write_routes(env, routes)
    findings = found(monkeypatch, env, **changes)
    assert set(codes(findings)) == {code}
    assert cure in findings[0].cure
    assert "\n" not in findings[0].problem


def test_a_library_of_another_version_than_is_asked_for_is_found() -> None:
    required = ["temporalio<1.36,>=1.35", "aiokafka>=0.14,<0.15", "noida-db>=9; extra == 'local'"]
    right = {"temporalio": "1.35.4", "aiokafka": "0.14.0", "noida-db": "0.2"}
    assert list(judge_versions(right, required)) == []
    assert list(judge_versions({}, required)) == []
    (old,) = judge_versions(right | {"aiokafka": "0.9.1"}, required)
    assert (old.code, old.thing) == ("TD112", "aiokafka")
    (new,) = judge_versions(right | {"temporalio": "1.36.0rc1"}, required)
    assert new.problem == "it is 1.36.0rc1, and <1.36 is needed"
    assert 'pip install "temporalio<1.36,>=1.35"' in new.cure


# --- asking those that are not there ---


async def test_neighbours_that_are_not_there_are_all_found_and_the_registry_is_told_from_what_is_none(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    write_routes(env, AVRO)
    nobody = f"127.0.0.1:{free_port(31_900)}"
    changes = {
        "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": nobody,
        "TEMPORAL_ADDRESS": nobody,
        "TURNOUT_REGISTRY__URL": f"http://{nobody}",
    }
    assert found(monkeypatch, env, **changes) == []
    asked = await ask(examine(os.environ), BOTH)
    assert sorted(codes(asked.findings)) == sorted(DOWN)
    assert all("\n" not in one.problem for one in asked.findings)
    server = RegistryServer()
    async with server.serving():
        monkeypatch.setenv("TURNOUT_REGISTRY__URL", f"{server.url}/somewhere/else")
        asked = await ask(examine(os.environ), BOTH)
    assert sorted(codes(asked.findings)) == ["TD201", "TD301", "TD502"]


def turnout(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    ended: list[int] = []
    monkeypatch.setattr(app_module, "leave", ended.append)
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    app_module.main()
    return ended[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"TURNOUT_TEMPORAL__UI_URL": ""}, 0),  # a note
        ({"TURNOUT_KAFKA__SESSION_TIMEOUT": "6s"}, 1),
        ({"TURNOUT_GROUP": ""}, 1),
    ],
)
def test_the_exit_code_says_whether_anything_but_notes_was_found(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], capsys: Capture, changes: dict[str, str], code: int
) -> None:
    found(monkeypatch, env, **changes)
    assert turnout(monkeypatch, "doctor", "--format", "json") == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert bool(lines) == bool(changes)
    for line in lines:
        assert line.keys() == {"code", "severity", "thing", "problem", "meaning", "cure"}
        assert line["severity"] == CHECKS[line["code"]].severity


def test_a_neighbour_that_is_not_there_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], capsys: Capture
) -> None:
    nobody = f"127.0.0.1:{free_port(31_900)}"
    found(monkeypatch, env, TURNOUT_KAFKA__BOOTSTRAP_SERVERS=nobody, TEMPORAL_ADDRESS=nobody)
    assert turnout(monkeypatch, "doctor", "--live") == 3
    told = capsys.readouterr()
    assert "error TD201 Kafka: Kafka cannot be reached" in told.out
    assert "does a broker listen there?" in told.out
    assert told.err.endswith("2 errors\n")


# --- the list ---

# Seen by the tests of asking above, and of real servers (tests/integration/test_setup.py).
ELSEWHERE = {*DOWN, "TD112", "TD212", "TD309", "TD502"}


def test_each_kind_of_finding_is_found_by_a_test() -> None:
    rows: list[tuple[Any, ...]] = [*OF_KAFKA, *OF_TEMPORAL, *OF_RETENTION, *OF_SETTINGS]
    assert {row[0] for row in rows} | ELSEWHERE == set(CHECKS)


def test_what_settings_alone_tell_needs_no_server() -> None:
    assert {row[0] for row in OF_SETTINGS} | {"TD112"} == {c for c, one in CHECKS.items() if not one.live}


def test_a_neighbour_that_is_not_there_is_an_error() -> None:
    assert {CHECKS[code].severity for code in DOWN} == {Severity.ERROR}


def test_the_table_in_the_docs_is_up_to_date() -> None:
    assert table_of_checks() in PAGE.read_text(), f"put this table into {PAGE}:\n{table_of_checks()}"


def test_rights_that_are_known_to_be_there_are_all_that_the_list_names() -> None:
    assert {right.operation for right in NEEDS.rights} <= MAY_ALL
