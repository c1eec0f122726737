"""Looking through topics for an event: newest first, within bounds, whatever the topics' envelope."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli import app as app_module
from service.cli import where as where_module
from service.errors import NotNow
from service.events.decoding import Decoder
from service.events.schemas import SchemaNeeded
from service.events.strict_json import Limits
from service.journeys import finding
from service.journeys.facts import Form, Unasked
from service.journeys.finding import Recogniser, Seen, look_through
from service.journeys.in_temporal import Started
from service.journeys.journey import Cause, Journey, Mark, Step
from service.journeys.saying import span
from service.kafka.reading import Reader
from service.kafka.record import Partition, Record
from service.routing.table import load_routes
from service.settings import Settings
from service.whereabouts import Bounds, Progress, _Finding
from tests.unit.records import record

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ROUTES = """\
version: 1
topics:
  shop.orders: {}
  cash: {event: {type: "${data.kind}", id: "${data.no}", source: /cash}}
routes:
  - {name: any, from: [shop.orders, cash], cancel: {to: order/A}}
"""


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    file: Path = tmp_path_factory.mktemp("routes") / "shop.yaml"
    file.write_text(ROUTES)
    formats = {name: topic.format for name, topic in load_routes(file).topics.items()}
    return Decoder(formats, Limits(1 << 20, 64), "cluster")


class Log:
    """Topics in memory; offsets without a record are gaps."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.asked: list[tuple[Partition, range]] = []

    async def read(self, partition: Partition, offsets: range) -> AsyncIterator[Record]:
        self.asked.append((partition, offsets))
        for one in self.records:
            if one.place == partition and one.offset in offsets:
                yield one


def binary(offset: int, event_id: str, **where: Any) -> Record:
    return record(offset, headers=(("ce_id", event_id.encode()),), **where)


def look(log: Log, decoder: Decoder, event_id: str, seconds: float = 60) -> tuple[Seen, list[int]]:
    places = {one.place for one in log.records}
    held = {place: range(max(o.offset for o in log.records if o.place == place) + 1) for place in places}
    moved: list[int] = []
    seen = asyncio.run(
        look_through(
            cast("Reader", log),
            held,
            NOW,
            Recogniser(event_id, decoder, {"cash"}),
            seconds=seconds,
            counted=lambda _: None,
            moved=moved.append,
        )
    )
    return seen, moved


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30, unique=True), st.integers(1, 60), st.data())
def test_each_record_of_an_event_in_its_partition_is_found_whatever_the_chunks(
    decoder: Decoder, offsets: Sequence[int], chunk: int, data: st.DataObject
) -> None:
    mine = set(data.draw(st.lists(st.sampled_from(sorted(offsets)), max_size=5)))
    records = [binary(offset, "mine" if offset in mine else "other") for offset in sorted(offsets)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(finding, "CHUNK", chunk)
        seen, moved = look(Log(records), decoder, "mine")
    assert [place.offset for place in seen.places] == sorted(mine)
    assert seen.search.complete
    assert moved[-1] == max(offsets) + 1


def test_once_it_is_found_other_partitions_are_left_where_they_are(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "CHUNK", 10)
    mine = [binary(99, "mine"), binary(5, "mine")]
    others = [binary(n, "other", partition=1) for n in range(100)]
    log = Log([*mine, *others])
    seen, _ = look(log, decoder, "mine")
    assert [place.offset for place in seen.places] == [5, 99]
    assert seen.search.offsets[Partition("shop.orders", 1)] == range(90, 100)
    assert not seen.search.complete


def test_time_that_is_up_ends_it_and_is_said(decoder: Decoder) -> None:
    seen, _ = look(Log([binary(n, "other") for n in range(100)]), decoder, "mine", seconds=0)
    assert not seen.search.complete
    assert not seen.records


def test_structured_and_mapped_events_are_recognised_by_what_they_mean(decoder: Decoder) -> None:
    envelope = {"specversion": "1.0", "id": "S-1", "source": "/s", "type": "t", "data": {}}
    structured = record(
        3, value=orjson.dumps(envelope), headers=(("content-type", b"application/cloudevents+json"),)
    )
    mapped = record(4, topic="cash", value=b'{"no": "C-1", "kind": "paid"}', headers=(("ce_id", b"S-1"),))
    broken = record(5, value=b"{", headers=(("content-type", b"application/cloudevents+json"),))
    log = Log([structured, mapped, broken])
    assert [place.offset for place in look(log, decoder, "S-1")[0].places] == [3]
    assert [place.offset for place in look(log, decoder, "C-1")[0].places] == [4]


class AwayRegistry:
    """A decoder whose registry does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    async def decode_with_registry(self, _record: Record) -> None:
        self.asked += 1
        raise NotNow("the registry does not answer")

    def decode(self, _record: Record) -> None:
        raise SchemaNeeded(1)


def test_a_registry_that_is_away_is_asked_once_and_told() -> None:
    away = AwayRegistry()
    recogniser = Recogniser("mine", cast("Decoder", away), set())

    async def ask() -> list[bool]:
        return [await recogniser.knows(record(n)) for n in range(3)]

    assert asyncio.run(ask()) == [False] * 3
    assert (away.asked, recogniser.away) == (1, "the registry does not answer")


# --- the command ---


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (3_600, "1 h"), (3_725, "1 h 2 min"), (90_000, "1 d 1 h")]
)
def test_spans_are_told_in_their_two_largest_units(seconds: int, said: str) -> None:
    assert span(timedelta(seconds=seconds)) == said


def journey(mark: Mark = Mark.DONE, *, unasked: Sequence[Unasked] = ()) -> Journey:
    step = Step(mark, "in [red]Kafka\x1b[0m", Cause.LETTER, "turnout [b]letters", values={"data.n": {"a": 1}})
    return Journey("e-1", "the id of an event", "shop.orders/0/42", NOW, [step], unasked=unasked)


Capture = pytest.CaptureFixture[str]


@pytest.fixture
def turnout(monkeypatch: pytest.MonkeyPatch, logging_as_before: None) -> Any:
    """`turnout where …`, told these journeys; returns its exit code."""
    monkeypatch.setenv("TURNOUT_GROUP", "shop")

    def run(found: Sequence[Journey], *arguments: str) -> int:
        codes: list[int] = []

        async def journeys(*_asked: object) -> Sequence[Journey]:
            return found

        monkeypatch.setattr(where_module, "journeys", journeys)
        monkeypatch.setattr("sys.argv", ["turnout", "where", *arguments])
        monkeypatch.setattr(app_module, "leave", codes.append)
        app_module.main()
        return codes[0]

    return run


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([journey()], 0),
        ([journey(Mark.NOTHING)], 0),
        ([journey(Mark.WAITS)], 1),
        ([journey(), journey(Mark.WRONG)], 1),
        ([journey(Mark.UNKNOWN)], 1),
        ([journey(unasked=[Unasked("all letters", "too many")])], 1),
        ([journey(Mark.WRONG, unasked=[Unasked("Temporal", "away")])], 3),
    ],
)
def test_exit_codes_tell_done_from_wrong_and_from_who_is_away(
    turnout: Any, found: Sequence[Journey], code: int
) -> None:
    assert turnout(found, "e-1") == code
    assert turnout(found, "e-1", "--format", "json") == code


def test_texts_of_others_are_shown_as_they_are(turnout: Any, capsys: Capture) -> None:
    turnout([journey(unasked=[Unasked("Temporal", "[/]away\n")])], "e-1")
    text = capsys.readouterr().out
    for said in (r"✓ in [red]Kafka\x1b[0m", "→ turnout [b]letters", 'data.n is {"a":1}', r"[/]away\n"):
        assert said in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["e-1", "--since", "yesterday"], "is no time"),
        (["e-1", "--as", "record"], "is not TOPIC/PARTITION/OFFSET"),
        (["e-1", "--as", "letter"], "--as"),
        (["\udcff"], "is empty, or not UTF-8"),
        (["  "], "is empty, or not UTF-8"),
        (["e-1", "--for", "0"], "--for"),
        ([], "Missing argument"),
    ],
)
def test_what_is_not_said_well_ends_with_2(
    turnout: Any, capsys: Capture, arguments: Sequence[str], said: str
) -> None:
    assert turnout([], *arguments) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


class KnowsStarts:
    """Stands for both neighbours: Temporal knows a workflow that the event started, Kafka does not answer."""

    temporal: Any
    neighbours: Any
    settings = Settings()

    def __init__(self) -> None:
        self.temporal = self.neighbours = self
        self.cluster = None

    async def asked(self, _whom: str, asking: Any, _seconds: float) -> Any:
        return await asking

    async def started_by(self, _attribute: str, _event_id: str) -> Sequence[Started]:
        return [Started("order/A", None)]

    async def parked_events(self, _event_id: str) -> tuple[Sequence[Any], bool]:
        return [], True


async def test_an_event_that_is_in_no_topic_is_found_by_the_workflow_that_it_started() -> None:
    finding = _Finding(cast("Any", KnowsStarts()), Bounds(NOW, 1), Progress(print, print))
    (found,) = await finding.found("e-1", Form.EVENT)
    assert (found.place, found.started) == (None, "order/A")
