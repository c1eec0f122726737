"""Metrics: what is counted, what is a flood, and the endpoint that shows it."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from structlog.testing import capture_logs

from service.dispatch.answers import OutcomeKind, Skip
from service.documents.metrics_page import CORE, metrics_page
from service.errors import Answered, ConfigurationError, Stage
from service.telemetry.floods import LEAST, WINDOW_SECONDS, Floods
from service.telemetry.metrics import LABELS, Metrics, Progress, Standing
from service.telemetry.scraping import page_at, served
from tests.servers import random_port

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/alerts/turnout.yaml"
DASHBOARD = ROOT / "deploy/dashboards/turnout.json"
PAGE = ROOT / "docs/metrics.md"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def shown(metrics: Metrics, name: str) -> dict[str, float]:
    """The series of one metric: labels as Prometheus writes them, and the value."""
    lines = re.findall(rf"^{name}(?:{{(.*)}})? (.*)$", metrics.text(), re.MULTILINE)
    return {labels: float(value) for labels, value in lines}


def test_outcomes_are_counted_by_route_and_kind() -> None:
    metrics = Metrics()
    for route, kind in [("orders", "accepted")] * 3 + [("orders", "parked"), ("", "skipped")]:
        metrics.outcome(route, kind)
    assert shown(metrics, "turnout_outcomes_total") == {
        'kind="accepted",route="orders"': 3,
        'kind="parked",route="orders"': 1,
        'kind="skipped",route=""': 1,
    }
    assert shown(metrics, "turnout_parked_total") == {'route="orders"': 1}


def test_what_a_rule_of_a_route_decided_is_counted_by_that_rule() -> None:
    metrics = Metrics()
    metrics.outcome("orders", "accepted")
    for rule, kind in [("missing", "skipped"), ("missing", "skipped"), ("closed", "dead-lettered")]:
        metrics.outcome("orders", kind, rule)
    assert shown(metrics, "turnout_rules_total") == {
        'kind="skipped",route="orders",rule="missing"': 2,
        'kind="dead-lettered",route="orders",rule="closed"': 1,
    }
    assert shown(metrics, "turnout_outcomes_total")['kind="skipped",route="orders"'] == 2


def test_letters_are_counted_by_stage_from_zero_on() -> None:
    metrics = Metrics()
    metrics.letter(Stage.ROUTE)
    assert shown(metrics, "turnout_letters_total") == {
        'stage="decode"': 0,
        'stage="route"': 1,
        'stage="dispatch"': 0,
        'stage="person"': 0,
    }


def test_what_is_paused_is_shown_while_it_is() -> None:
    metrics = Metrics()
    metrics.paused([("topic", "shop.orders"), ("route", "order-placed")])
    metrics.paused([("topic", "shop.orders"), ("unknown", "shop.odrers")])
    assert shown(metrics, "turnout_paused") == {
        'kind="topic",name="shop.orders"': 1,
        'kind="unknown",name="shop.odrers"': 1,
    }
    metrics.paused([])
    assert shown(metrics, "turnout_paused") == {}


def test_what_waits_is_shown_as_last_measured() -> None:
    metrics = Metrics()
    metrics.measure([(Answered.KAFKA, 4), (Answered.BUSY, 12.5), (Answered.BUSY, 7)])
    nothing = {f'answer="{one}"': 0.0 for one in Answered}
    assert shown(metrics, "turnout_waiting_records") == nothing | {'answer="kafka"': 1, 'answer="busy"': 2}
    oldest = shown(metrics, "turnout_oldest_wait_seconds")
    assert oldest == nothing | {'answer="kafka"': 4, 'answer="busy"': 12.5}
    metrics.measure([])
    assert shown(metrics, "turnout_oldest_wait_seconds") == nothing


def test_what_was_skipped_or_done_before_is_counted_by_why() -> None:
    metrics = Metrics()
    metrics.skipped("orders", "when")
    metrics.skipped("", "tombstone")
    metrics.skipped("orders", "when")
    metrics.duplicate("orders", "other-record")
    metrics.reused_id("shop.orders")
    assert shown(metrics, "turnout_skips_total") == {
        'reason="when",route="orders"': 2,
        'reason="tombstone",route=""': 1,
    }
    assert shown(metrics, "turnout_duplicates_total") == {'of="other-record",route="orders"': 1}
    assert shown(metrics, "turnout_reused_ids_total") == {'topic="shop.orders"': 1}


def test_what_waits_for_people_is_shown_while_this_process_knows_it() -> None:
    metrics = Metrics()
    metrics.standing("shop", None)
    assert shown(metrics, "turnout_open_letters") == {}
    metrics.standing("shop", Standing(3, 0))
    assert shown(metrics, "turnout_open_letters") == {'group="shop"': 3}
    assert shown(metrics, "turnout_open_parks") == {'group="shop"': 0}
    metrics.standing("shop", Standing(None, 1))
    assert shown(metrics, "turnout_open_letters") == {}
    assert shown(metrics, "turnout_open_parks") == {'group="shop"': 1}
    metrics.standing("shop", None)
    assert shown(metrics, "turnout_open_parks") == {}


# --- floods ---


@pytest.mark.parametrize(
    ("letters", "others", "floods"),
    [(20, 0, True), (20, 179, True), (20, 180, False), (19, 0, False), (0, 0, False), (1_000, 8_999, True)],
)
@pytest.mark.parametrize(("what", "kind"), [("letters", "dead-lettered"), ("parks", "parked")])
def test_a_flood_is_more_than_a_tenth_and_at_least_twenty(
    what: str, kind: str, letters: int, others: int, floods: bool
) -> None:
    watched = Floods(Clock())
    for _ in range(letters):
        watched.note(kind)
    for _ in range(others):
        watched.note("accepted")
    other = {"letters": "parks", "parks": "letters"}[what]
    assert watched.now() == {what: floods, other: False}


def test_a_flood_is_over_a_minute_after_the_last_letter() -> None:
    clock = Clock()
    watched = Floods(clock)
    for _ in range(LEAST):
        watched.note("dead-lettered")
    clock.now += WINDOW_SECONDS - 1
    assert watched.now()["letters"]
    clock.now += 1
    assert not watched.now()["letters"]


PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.4, 1.0, 9.5, 59.0, 90.0])
KINDS = st.sampled_from(["dead-lettered", "accepted"])


@given(st.lists(st.tuples(PAUSES, KINDS), max_size=200))
def test_whatever_comes_when_only_the_last_minute_counts(events: list[tuple[float, str]]) -> None:
    clock = Clock()
    watched = Floods(clock)
    happened: list[tuple[int, str]] = []
    for pause, kind in events:
        clock.now += pause
        watched.note(kind)
        happened.append((int(clock.now), kind))
    lately = [kind for second, kind in happened if second > int(clock.now) - WINDOW_SECONDS]
    letters = lately.count("dead-lettered")
    assert watched.now()["letters"] == (letters >= LEAST and letters > len(lately) / 10)


def test_a_flood_is_shown_and_said_once_when_it_begins() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    assert shown(metrics, "turnout_flood") == {'what="letters"': 0, 'what="parks"': 0}
    for _ in range(2):
        for _ in range(LEAST):
            metrics.outcome("orders", "dead-lettered")
        with capture_logs() as lines:
            metrics.measure([])
            metrics.measure([])
        assert [(line["event"], line["of"], line["log_level"]) for line in lines] == [
            ("flood", "letters", "warning")
        ]
        assert shown(metrics, "turnout_flood") == {'what="letters"': 1, 'what="parks"': 0}
        clock.now += WINDOW_SECONDS
        metrics.measure([])
        assert shown(metrics, "turnout_flood") == {'what="letters"': 0, 'what="parks"': 0}


# --- the endpoint ---


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


async def test_the_endpoint_answers_while_the_event_loop_is_busy_and_is_gone_afterwards() -> None:
    metrics, port = Metrics(), random_port()
    metrics.outcome("orders", "accepted")
    async with served(metrics, f"127.0.0.1:{port}"):
        assert 'turnout_outcomes_total{kind="accepted",route="orders"} 1.0' in fetch(port)  # blocks the loop
    with pytest.raises(OSError, match="refused"):
        fetch(port)
    async with served(metrics, f"127.0.0.1:{port}"):
        assert "turnout_outcomes_total" in fetch(port)


async def test_what_another_port_serves_comes_behind_ours_and_does_not_keep_ours_from_coming() -> None:
    metrics, port, others = Metrics(), random_port(), random_port()
    other = Metrics()
    other.outcome("of-the-other", "accepted")
    async with served(metrics, f"127.0.0.1:{port}", page_at(others)):
        with capture_logs() as lines:
            assert "turnout_ready" in await asyncio.to_thread(fetch, port)
            assert "of-the-other" not in await asyncio.to_thread(fetch, port)
        assert [line["log_level"] for line in lines] == ["warning"]  # once
        async with served(other, f"127.0.0.1:{others}"):
            assert 'route="of-the-other"' in await asyncio.to_thread(fetch, port)


async def test_a_port_that_is_taken_is_said_with_the_setting() -> None:
    address = f"127.0.0.1:{random_port()}"
    async with served(Metrics(), address):
        with pytest.raises(ConfigurationError, match=f"TURNOUT_METRICS__ADDRESS={address}.*in use"):
            async with served(Metrics(), address):
                pass


async def test_without_an_address_nothing_listens() -> None:
    with capture_logs() as lines:
        async with served(Metrics(), ""):
            pass
    assert lines == []


def test_how_far_partitions_are_is_shown_of_those_that_we_have() -> None:
    metrics = Metrics()
    metrics.progress({("in", 0): Progress(9, 3, 1, 2.5), ("in", 1): Progress(0, 0, 0, 0.0)})
    assert shown(metrics, "turnout_lag_records") == {
        'partition="0",topic="in"': 9,
        'partition="1",topic="in"': 0,
    }
    assert shown(metrics, "turnout_in_flight_records")['partition="0",topic="in"'] == 3
    assert shown(metrics, "turnout_finished_ahead_records")['partition="0",topic="in"'] == 1
    assert shown(metrics, "turnout_lag_seconds")['partition="0",topic="in"'] == 2.5
    metrics.progress({("in", 1): Progress(4, 4, 0, 1.0)})
    assert shown(metrics, "turnout_lag_records") == {'partition="1",topic="in"': 4}


def test_ages_calls_and_publishing_are_counted_by_what_they_took() -> None:
    metrics = Metrics()
    metrics.finished(0.07)
    metrics.finished(-5)  # a producer's clock may be ahead of ours
    metrics.called("start", 0.3)
    metrics.called("start", 0.004)
    metrics.published(0.02)
    assert shown(metrics, "turnout_event_age_seconds_count") == {"": 2}
    assert shown(metrics, "turnout_event_age_seconds_bucket")['le="0.01"'] == 1
    assert shown(metrics, "turnout_call_seconds_count") == {'kind="start"': 2}
    assert shown(metrics, "turnout_call_seconds_bucket")['kind="start",le="0.005"'] == 1
    assert shown(metrics, "turnout_publish_seconds_sum") == {"": 0.02}


# --- alerts ---


def rules() -> Iterator[dict[str, Any]]:
    for group in YAML(typ="safe").load(ALERTS)["groups"]:
        yield from group["rules"]


def test_each_alert_has_what_prometheus_and_people_need() -> None:
    found = list(rules())
    assert len({rule["alert"] for rule in found}) == len(found) == 7
    for rule in found:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"page", "ticket"}


def known_names() -> set[str]:
    """All names that a query may use."""
    ours = [(one.name, one.type) for one in Metrics().described()]
    cores = [(name, "histogram" if name.endswith("_seconds") else "other") for name in CORE]
    parts = {name + part for name, type_ in [*ours, *cores] if type_ == "histogram" for part in PARTS}
    return {name for name, _ in [*ours, *cores]} | parts | {"process_resident_memory_bytes"}


PARTS = ("_bucket", "_count", "_sum")
NAMES = re.compile(r"\b(?:turnout|temporal|process)_\w+")


def test_alerts_speak_of_metrics_that_there_are() -> None:
    spoken = {name for rule in rules() for name in NAMES.findall(f"{rule['expr']} {rule['annotations']}")}
    assert spoken
    assert spoken <= known_names()


# --- the dashboard ---


def test_the_dashboard_shows_all_of_our_metrics_and_none_that_there_is_not() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    spoken = {name for query in queries for name in NAMES.findall(query)}
    assert spoken <= known_names()
    bare = {re.sub("_(bucket|count|sum)$", "", name) for name in spoken} | spoken
    assert {one.name for one in Metrics().described()} <= bare


def test_each_panel_of_the_dashboard_has_a_place_of_its_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_labels_that_a_query_names_are_those_of_its_metric() -> None:
    labels = {one.name: set(one.labels) for one in Metrics().described()}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    for query in [*queries, *(rule["expr"] for rule in rules())]:
        for by, name in re.findall(r"by \(([\w, ]+)\) \((?:\w+\()?(turnout_\w+)", query):
            has = labels.get(name) or labels.get(re.sub("_(bucket|count|sum)$", "", name)) or set()
            of_prometheus = {"le", "instance", "job"} | ({"workflow_type"} if name in CORE else set())
            assert set(by.split(", ")) <= has | of_prometheus, query


# --- the page, and the labels ---


def test_the_page_in_the_repository_is_up_to_date() -> None:
    assert PAGE.read_text() == metrics_page(), "write it anew: make reference"


def test_no_metric_has_a_label_but_those_with_few_values_that_the_page_tells() -> None:
    used = {label for one in Metrics().described() for label in one.labels}
    assert used == set(LABELS)
    # What each event, key or workflow has of its own would be a series each.
    assert not used & {
        "key",
        "event_id",
        "id",
        "workflow_id",
        "run_id",
        "offset",
        "subject",
        "detail",
        "error",
    }


@pytest.mark.parametrize(("label", "values"), [("reason", Skip), ("kind", OutcomeKind), ("stage", Stage)])
def test_the_page_tells_all_values_of_a_label(label: str, values: type[StrEnum]) -> None:
    assert [one for one in values if f"`{one.value}`" not in LABELS[label]] == []


def test_all_that_is_counted_is_described() -> None:
    counted = {family.name for family in Metrics().registry.collect()}
    described = {re.sub("_total$", "", one.name) for one in Metrics().described()}
    assert described == {name for name in counted if name.startswith("turnout_")}
    assert all(one.text.endswith(".") and len(one.text) < 100 for one in Metrics().described())


def test_each_kind_of_outcome_is_described() -> None:
    assert [kind for kind in OutcomeKind if f"`{kind}`" not in LABELS["kind"]] == []
