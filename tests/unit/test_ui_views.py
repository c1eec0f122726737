"""`turnout ui`: links that lead to what they say, whatever the names in them."""

import json
import os
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli import app as app_module
from service.kafka.record import Partition
from service.redrive.letterbox import Place
from service.routing.table import RouteTable, load_routes
from service.settings import Settings, TemporalSettings
from service.surroundings.views import View, view_of, views

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
ROUTES = """\
version: 1
namespaces: [eu, us]
topics: {orders: {}, changes: {}, "tenant-*.orders": {}}
routes:
  - {name: placed, from: [orders, tenant-*.orders], type: order.placed, start: {
     workflow: W, id: w, task_queue: q}}
  - {name: moved, from: changes, type: [a, b], start: {
     namespace: "${data.region}", workflow: W, id: w, task_queue: q}}
  - {name: told, from: changes, type: c, signal: {to: k, name: s}}
  - {name: kept, from: changes, signal: {to: k, name: s, or_start: {workflow: K, task_queue: q}}}
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def table(tmp_path: Path) -> RouteTable:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    return load_routes(tmp_path)


def settings(**temporal: object) -> Settings:
    return Settings(group="shop", temporal=TemporalSettings.model_validate(temporal))


def by_name(
    table: RouteTable, ours: Settings | None = None, now: datetime = NOON
) -> dict[tuple[str, str], str]:
    found = list(views(ours or settings(), table, "default", now))
    assert len({(one.name, one.namespace) for one in found}) == len(found), "one view would replace another"
    return {(one.name, one.namespace): one.query for one in found}


def test_there_is_a_view_of_each_route_event_type_and_topic_that_starts_workflows(table: RouteTable) -> None:
    found = by_name(table)
    ours = {name: [space for one, space in found if one == name] for name, _ in found}
    everywhere = ["default", "eu", "us"]
    assert ours == {
        "shop: parked": ["default"],
        "shop: failed today": everywhere,
        "shop: failed": everywhere,
        "shop: running": everywhere,
        "route placed": ["default"],
        "route moved": ["eu", "us"],
        "route kept": ["default"],
        "event order.placed": ["default"],
        "event a": ["eu", "us"],
        "event b": ["eu", "us"],
        "topic changes": everywhere,
        "topic orders": ["default"],
    }
    assert found["route placed", "default"] == "`TurnoutRoute` = 'placed'"
    assert found["event a", "us"] == "`TurnoutEventType` = 'a'"
    assert found["topic orders", "default"] == "`TurnoutRecord` STARTS_WITH 'orders['"
    assert not any("*" in query for query in found.values()), "no list can be asked for by a pattern"
    assert "TaskQueue = 'turnout.shop'" in found["shop: parked", "default"]


def test_the_names_of_search_attributes_are_those_of_the_settings(table: RouteTable) -> None:
    named = settings(
        attribute_route="A", attribute_event_type="B", attribute_event_id="C", attribute_record="D"
    )
    found = by_name(table, named)
    assert found["route placed", "default"] == "`A` = 'placed'"
    assert found["event a", "us"] == "`B` = 'a'"
    assert found["topic orders", "default"] == "`D` STARTS_WITH 'orders['"
    (of_event, *_) = view_of(named, table, "default", event_id="e-1")
    assert of_event.query == "`C` = 'e-1'"
    assert not any("Turnout" in query for query in found.values())


def test_without_search_attributes_only_what_is_parked_can_be_listed(table: RouteTable) -> None:
    without = settings(search_attributes=False)
    assert [name for name, _ in by_name(table, without)] == ["shop: parked"]
    assert view_of(without, table, "default", event_id="e-1") == ()


def test_today_begins_at_midnight_of_utc(table: RouteTable) -> None:
    evening = datetime(2026, 11, 30, 1, tzinfo=timezone(timedelta(hours=3)))
    assert "CloseTime >= '2026-11-29T00:00:00Z'" in by_name(table, now=evening)["shop: failed today", "eu"]


def test_what_a_record_has_started_is_looked_for_as_starts_say_it(table: RouteTable) -> None:
    found = view_of(settings(), table, "default", place=Place(Partition("orders", 0), 42))
    assert [(one.namespace, one.query) for one in found] == [
        (space, "`TurnoutRecord` = 'orders[0]@42'") for space in ("default", "eu", "us")
    ]
    assert not any(one.kept for one in found)


@given(st.text(), st.text(min_size=1), st.text(), st.booleans())
def test_a_link_leads_to_the_very_query_under_the_very_name(
    name: str, namespace: str, query: str, kept: bool
) -> None:
    link = View(name, namespace, query, kept).link("https://ui/temporal/")
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc) == ("https", "ui")
    folder, _, last = parts.path.removeprefix("/temporal/namespaces/").partition("/")
    assert (unquote(folder), last) == (namespace, "workflows")
    asked = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True)
    assert asked == {"query": [query], **({"savedQuery": [name]} if kept else {})}
    # As the browser reads it; spaces are not left to be told from a plus.
    assert "+" not in link.removeprefix("https://ui/temporal/")


def turnout(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str, **environment: str) -> int:
    for name in [name for name in os.environ if name.startswith(("TURNOUT_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    (folder / "routes.yaml").write_text(ROUTES)
    known = {"TURNOUT_GROUP": "shop", "TURNOUT_ROUTES": str(folder / "routes.yaml")}
    for name, value in (known | environment).items():
        monkeypatch.setenv(name, value)
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    app_module.main()
    return codes[0]


def test_views_are_printed_for_people_and_for_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    assert turnout(monkeypatch, tmp_path, "ui", "--url", "http://ui", "--format", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (
        turnout(monkeypatch, tmp_path, "ui", TURNOUT_TEMPORAL__UI_URL="http://ui", TEMPORAL_NAMESPACE="n")
        == 0
    )
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 2 * len(lines)
    assert lines[0]["url"].replace("/default/", "/n/") in text
    assert "shop: parked (n)\n" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ui"], 1, "TURNOUT_TEMPORAL__UI_URL"),
        (["ui", "--url", "http://ui", "--record", "x"], 2, "shop.orders/0/42"),
        (["ui", "--url", "http://ui", "--record", "a/0/1", "--event", "e"], 2, "give one of"),
    ],
)
def test_what_cannot_be_printed_is_said_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: Capture,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    assert turnout(monkeypatch, tmp_path, *arguments) == code
    assert said in capsys.readouterr().err
