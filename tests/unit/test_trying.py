# ruff: noqa: E501 - a case is a line
"""Trying routes on records: what becomes of each, counted, and what two sets of routes do otherwise."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator
from temporalio import workflow

from service.cli.trial_printing import MOST_KINDS as MOST_SHOWN
from service.cli.trial_printing import Shown, as_json, show
from service.dispatch.contracts import Contracts
from service.dispatch.explaining import Explaining
from service.errors import NotNow
from service.events.decoding import Decoder, Tombstone
from service.events.event import Event
from service.events.framing import framed
from service.events.schemas import Schemas
from service.events.strict_json import Limits
from service.kafka.raw import MENDED
from service.kafka.record import Headers, Partition, Record
from service.redrive.letterbox import Place
from service.routing.table import load_routes
from service.trial import ToTry, Tried
from service.trying.differences import Difference, described, differences, fails_newly
from service.trying.effects import Becomes, Effect, Once, Trial
from service.trying.tally import FIRST, MOST_KINDS, Kinds, Tally
from service.trying.walk import STEP_RECORDS, walk
from service.trying.window import Held, newest
from tests.unit.letter_world import FakeKafka, decoder_of, fact, table_in
from tests.unit.registries import FakeSource, avro

ROUTES = """\
version: 1
topics:
  orders: {tombstones: skip}
  news: {unmatched: skip}
  cash: {event: {type: '${headers["type"]}', id: "${data.id}"}}
routes:
  - name: placed
    from: orders
    type: placed
    when: data.total > 0
    start:
      workflow: Shop
      id: order/${data.id}
      task_queue: q
      input: ${data}
      contract: {required: [total], properties: {lines: {type: array}}}
  - {name: points, from: orders, type: [placed, paid], signal: {to: "customer/${data.id}", name: earned, input: "${data.total}", or_start: {workflow: Customer, task_queue: q}}}
  - {name: withdrawn, from: orders, type: withdrawn, cancel: {to: "order/${data.id}"}}
  - {name: replied, from: news, type: replied, complete: {correlation: "${data.to}", result: "${data}"}}
  - {name: cash, from: cash, type: cash, start: {workflow: Fragile, id: "cash/${data.id}", task_queue: q, input: "${data}"}}
"""


class Note(BaseModel):
    id: str

    @field_validator("id")
    @classmethod
    def breaks(cls, text: str) -> str:
        if text == "secret":
            raise LookupError(text)
        return text


@workflow.defn
class Fragile:
    """Its model has a defect that one input shows."""

    @workflow.run
    async def run(self, note: Note) -> None: ...


def trial(folder: Path, routes: str = ROUTES, once: Once | None = None) -> Trial:
    folder.mkdir(exist_ok=True)
    table = table_in(folder, routes)
    return Trial(decoder_of(table), table, Explaining(table, Contracts([Fragile])), once or Once())


def order(kind: str = "placed", offset: int = 0, **where: Any) -> Record:
    data = {"id": "A-1", "total": 5} | where.pop("data", {})
    where = {"topic": "orders", "value": orjson.dumps(data)} | where
    return fact(offset, type=kind, **where)


def cash(id_: str) -> Record:
    return fact(topic="cash", headers=(("type", b"cash"),), value=orjson.dumps({"id": id_}))


UNREADABLE: Headers = (("\\xff", b"1"), (MENDED, b"0"))


# --- what becomes of a record ---


@pytest.mark.parametrize(
    ("record", "becomes"),
    [
        (order(), {"placed": "start", "points": "signal"}),
        (order("paid"), {"points": "signal"}),
        (order("withdrawn"), {"withdrawn": "cancel"}),
        (order(data={"total": 0}), {"placed": "skipped", "points": "signal"}),
        (order("other"), {"": "letter"}),
        (order("other", topic="news"), {"": "unmatched"}),
        (order(value=None, headers=()), {"": "tombstone"}),
        (order(value=b"{"), {"": "letter"}),
        (order(topic="elsewhere"), {}),
        (order(headers=UNREADABLE), {"": "stops its partition"}),
        (cash("C-1"), {"cash": "start"}),
        (cash("secret"), {"cash": "holds its lane"}),
        (order("replied", topic="news", data={"to": "nobody"}), {"replied": "letter"}),
    ],
)  # fmt: skip
def test_a_record_becomes_what_a_bridge_would_make_of_it(
    tmp_path: Path, record: Record, becomes: dict[str, str]
) -> None:
    effects = trial(tmp_path).effects(record)
    assert {effect.route: effect.becomes.value for effect in effects} == becomes
    assert all("secret" not in effect.reason for effect in effects)


@pytest.mark.parametrize(
    ("record", "stage", "reason"),
    [
        (order(value=b"{"), "decode", "the value is not JSON"),
        (order("other"), "route", "no route takes type other from orders; add one, or write `unmatched: skip`"),
        (order(value=b'{"id": "A-1"}'), "route", "when: data has no attribute 'total'; write data.?total"),
        (order(data={"lines": 1}), "dispatch", "the input does not fit the contract of workflow Shop: lines:"),
    ],
)  # fmt: skip
def test_a_failure_is_told_with_stage_reason_and_cure(
    tmp_path: Path, record: Record, stage: str, reason: str
) -> None:
    failed = trial(tmp_path).effects(record)[0]
    assert (failed.becomes, failed.stage) == (Becomes.LETTER, stage)
    assert failed.reason.startswith(reason)


def test_what_is_not_known_now_is_no_defect_of_the_record(tmp_path: Path) -> None:
    class Away(Decoder):
        def decode(self, record: Record) -> Event | Tombstone:
            raise NotNow("the registry does not answer")

    table = table_in(tmp_path, ROUTES)
    asked = Trial(Away({}, Limits(), ""), table, Explaining(table, Contracts([])), Once())
    with pytest.raises(NotNow):
        asked.effects(order())


# --- differences ---


def compare(folder: Path, record: Record, *changes: tuple[str, str]) -> list[Difference]:
    """Between the routes, and those with one text changed for another."""
    changed, once = ROUTES, Once()
    for before, after in changes:
        assert before in changed
        changed = changed.replace(before, after)
    now, then = trial(folder / "now", once=once), trial(folder / "then", changed, once)
    return list(differences(now.effects(record), then.effects(record)))


START, SIGNAL, LETTER, NOTHING = Becomes.START, Becomes.SIGNAL, Becomes.LETTER, Becomes.NOTHING


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("id: order/", "id: orders/"), [Difference("placed", START, START, ("id",))]),
        (("workflow: Shop", "workflow: Store"), [Difference("placed", START, START, ("workflow",))]),
        (("id: order/${data.id}\n", "id: orders/${data.id}\n      run_timeout: 1h\n"), [Difference("placed", START, START, ("id", "run_timeout"))]),
        (('input: "${data.total}"', 'input: {total: "${data.total}"}'), [Difference("points", SIGNAL, SIGNAL, ("input",))]),
        (("input: ${data}\n", "input: ${data}\n      running: skip\n"), [Difference("placed", START, START, ("running",))]),
        (("workflow: Customer", "workflow: Client"), [Difference("points", SIGNAL, SIGNAL, ("or_start workflow",))]),
        (("> 0", "> 9"), [Difference("placed", START, Becomes.SKIPPED)]),
        (("[total]", "[total, voucher]"), [Difference("placed", START, LETTER)]),
        (("name: points", "name: score"), [Difference("score", NOTHING, SIGNAL), Difference("points", SIGNAL, NOTHING)]),
        (("orders: {tombstones: skip}", "orders: {key: json, tombstones: skip}"), [Difference("", NOTHING, LETTER), Difference("placed", START, NOTHING), Difference("points", SIGNAL, NOTHING)]),
        (("type: placed", "type: bought"), [Difference("placed", START, NOTHING)]),
        (("required: [total]", "required: [id]"), []),
        (("version: 1", "# the same\nversion: 1"), []),
    ],
)  # fmt: skip
def test_what_differs_is_told_by_route(
    tmp_path: Path, change: tuple[str, str], found: list[Difference]
) -> None:
    assert compare(tmp_path, order(), change) == found


def test_an_event_with_another_id_differs_since_a_repeat_acts_again(tmp_path: Path) -> None:
    found = compare(tmp_path, cash("C-1"), ('"${data.id}"}}', '"id-${data.id}"}}'))
    assert found == [Difference("cash", START, START, ("event id",))]


def test_another_way_to_find_the_workflow_differs(tmp_path: Path) -> None:
    change = ('cancel: {to: "order/${data.id}"}', 'cancel: {to: {where: {OrderId: "${data.id}"}}}')
    found = compare(tmp_path, order("withdrawn"), change)
    assert found == [Difference("withdrawn", Becomes.CANCEL, Becomes.CANCEL, ("id", "where"))]


def test_a_route_of_two_topics_is_counted_and_told_for_each(tmp_path: Path) -> None:
    routes = ROUTES.replace("from: orders, type: withdrawn", "from: [orders, news], type: withdrawn")
    asked, tally = trial(tmp_path / "routes", routes), Tally()
    for topic in ("orders", "news", "news"):
        record = order("withdrawn", topic=topic)
        tally.add(record, asked.effects(record))
    counts = [tally.of(topic, "withdrawn", Becomes.CANCEL) for topic in ("orders", "news")]
    assert counts == [1, 2]
    to_try = ToTry(load_routes(tmp_path / "routes"), None, Contracts([]))
    held = {Partition(topic, 0): range(2) for topic in ("orders", "news")}
    told = as_json(Shown(tmp_path, None, to_try, Tried(held, [], tally), []))["by_route"]
    ours = [(one["topic"], one["commands"]) for one in told if one["route"] == "withdrawn"]
    assert ours == [("orders", 1), ("news", 2)]


def test_routes_of_a_record_that_swap_places_differ_in_their_order(tmp_path: Path) -> None:
    head, one, *others = ROUTES.split("  - ")
    (tmp_path / "a").mkdir()
    swapped = trial(tmp_path / "a", "  - ".join([head, *others, one]))
    found = list(differences(trial(tmp_path / "b").effects(order()), swapped.effects(order())))
    assert found == [Difference("", NOTHING, NOTHING, ("order of its routes",))]
    assert described(found[0]) == "order of its routes differs"


def test_two_ways_of_doing_nothing_are_no_difference(tmp_path: Path) -> None:
    skipped = order(data={"total": 0})
    assert compare(tmp_path, skipped, ("type: placed", "type: bought")) == []
    tombstone = order(topic="news", value=None, headers=())
    assert compare(tmp_path, tombstone, ("news: {unmatched", "news: {tombstones: skip, unmatched")) == [
        Difference("", LETTER, Becomes.TOMBSTONE)
    ]


@pytest.mark.parametrize(
    ("was", "becomes"), [("1", "true"), ("1", "1.0"), ("[0]", "[false]"), ("{a: 1}", "{a: true}")]
)
def test_true_is_another_input_than_one(tmp_path: Path, was: str, becomes: str) -> None:
    input_ = ("input: ${data}\n", f"input: {was}\n")
    routes = ROUTES.replace(*input_).replace(
        "contract: {required: [total], properties: {lines: {type: array}}}", ""
    )
    now, then = (
        trial(tmp_path / "a", routes),
        trial(tmp_path / "b", routes.replace(f"input: {was}\n", f"input: {becomes}\n")),
    )
    found = list(differences(now.effects(order()), then.effects(order())))
    assert found == [Difference("placed", START, START, ("input",))]


@pytest.mark.parametrize(
    ("before", "after", "newly"),
    [
        ([], [Effect(LETTER, "a")], True),
        ([Effect(START, "a")], [Effect(LETTER, "a")], True),
        ([Effect(LETTER, "a"), Effect(START, "b")], [Effect(LETTER, "a"), Effect(LETTER, "b")], True),
        ([Effect(LETTER, "a")], [Effect(LETTER)], True),
        ([Effect(LETTER, "a", reason="x")], [Effect(LETTER, "a", reason="y")], False),
        ([Effect(LETTER)], [Effect(LETTER, "a"), Effect(START, "b")], False),
        ([Effect(LETTER, "a")], [Effect(START, "a")], False),
    ],
)
def test_a_failure_is_new_where_that_part_of_the_record_did_not_fail(
    before: list[Effect], after: list[Effect], *, newly: bool
) -> None:
    assert fails_newly(before, after) is newly


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Trial]:
    """The same routes, each of which finds out by itself."""
    folder = tmp_path_factory.mktemp("routes")
    return trial(folder), trial(folder)


@given(
    st.binary(max_size=40)
    | st.dictionaries(
        st.sampled_from(["id", "total", "to", "lines"]), st.text(max_size=3) | st.integers() | st.none()
    ).map(lambda one: str(one).replace("'", '"').encode()),
    st.sampled_from(["placed", "paid", "withdrawn", "other", "replied"]),
    st.sampled_from(["orders", "news", "cash"]),
)
@settings(deadline=None)
def test_routes_never_differ_from_themselves_whatever_the_record(
    twice: tuple[Trial, Trial], value: bytes, kind: str, topic: str
) -> None:
    now, then = twice
    record = fact(topic=topic, type=kind, value=value)
    assert list(differences(now.effects(record), then.effects(record))) == []
    tally = Tally()
    tally.add(record, now.effects(record), then.effects(record))
    assert (tally.records, tally.differing, tally.failing_newly) == (1, 0, 0)


@pytest.mark.parametrize(
    "record", [order(), order("paid"), order(data={"total": 0}), order(value=b"{"), cash("secret")]
)
def test_what_is_found_out_once_for_both_is_what_each_finds_out_alone(tmp_path: Path, record: Record) -> None:
    changed = ROUTES.replace("> 0", "> 9").replace("earned", "points")
    once = Once()
    both = [trial(tmp_path / "a", ROUTES, once), trial(tmp_path / "b", changed, once)]
    alone = [trial(tmp_path / "a"), trial(tmp_path / "b", changed)]
    for together, single in zip(both, alone, strict=True):
        told = [(one.becomes, one.route, one.reason) for one in together.effects(record)]
        assert told == [(one.becomes, one.route, one.reason) for one in single.effects(record)]


# --- counts ---


def test_records_are_counted_by_topic_route_and_what_becomes_of_them(tmp_path: Path) -> None:
    asked, tally = trial(tmp_path), Tally()
    for record in [
        order(),
        order(offset=1, data={"total": 0}),
        order("other", 2),
        order(offset=3, timestamp_ms=7),
    ]:
        tally.add(record, asked.effects(record))
    assert tally.of("orders", "placed", Becomes.START) == 2
    assert tally.of("orders", "placed", Becomes.SKIPPED) == 1
    assert tally.of("orders", "", Becomes.LETTER) == 1
    assert (tally.records, tally.failing, tally.topics["orders"].oldest_ms) == (4, 1, 7)
    ((failure, kind),) = tally.failures.by_number()
    assert (failure.stage, failure.route, failure.type) == ("route", "", "other")
    assert (kind.count, kind.first) == (1, [Place(Partition("orders", 0), 2)])


def test_reasons_that_differ_by_numbers_alone_are_one_kind_with_its_first_places(tmp_path: Path) -> None:
    asked, tally = trial(tmp_path), Tally()
    for n in range(9):
        record = order(offset=n, value=b'{"id": "A-1"' + b" " * n + b"?")
        tally.add(record, asked.effects(record))
    ((_, kind),) = tally.failures.by_number()
    assert kind.count == 9
    assert [place.offset for place in kind.first] == list(range(FIRST))
    assert "column 13" in kind.text


def test_kinds_are_bounded_and_none_is_left_uncounted() -> None:
    kinds: Kinds[int] = Kinds()
    for n in range(MOST_KINDS + 5):
        kinds.add(n, order())
    kinds.add(0, order())
    assert (len(list(kinds.by_number())), kinds.others, kinds.count) == (MOST_KINDS, 5, MOST_KINDS + 6)
    assert next(kinds.by_number())[0] == 0


# --- which records ---


class Timestamps:
    """Partitions whose records have these timestamps, each at its offset; some offsets at the front are gone."""

    def __init__(self, times: Sequence[Sequence[int]], gone: int = 0) -> None:
        self.times = {Partition("t", number): one for number, one in enumerate(times)}
        self.held: Held = {p: range(min(gone, len(one)), len(one)) for p, one in self.times.items()}

    async def since(self, held: Held, timestamp_ms: int) -> Mapping[Partition, range]:
        return {
            partition: range(
                next((n for n in offsets if self.times[partition][n] >= timestamp_ms), offsets.stop),
                offsets.stop,
            )
            for partition, offsets in held.items()
        }


times_of_partition = st.lists(st.integers(-1, 9), max_size=8)


@given(
    st.lists(times_of_partition.map(sorted), max_size=4) | st.lists(times_of_partition, max_size=4),
    st.integers(1, 20),
    st.integers(0, 3),
)
@example([[0], [-1]], 1, 0)
@settings(deadline=None)
def test_the_newest_are_as_many_as_asked_for_and_nothing_newer_is_left_out(
    times: list[list[int]], count: int, gone: int
) -> None:
    log = Timestamps(times, gone)
    taken = asyncio.run(newest(log, log.held, count))
    held = sum(map(len, log.held.values()))
    assert sum(map(len, taken.values())) == min(count, held)
    assert all(one.stop == log.held[p].stop and one.start >= log.held[p].start for p, one in taken.items())
    left_out = [log.times[p][n] for p, held in log.held.items() for n in held if n < taken[p].start]
    first = [log.times[p][one.start] for p, one in taken.items() if one]
    in_order = all(list(one) == sorted(one) for one in times)
    if left_out and in_order:
        # One without a time is as old as can be; Kafka's index knows no time before 0.
        assert max(left_out) <= max(min(first), 0)


def test_of_equal_times_those_of_the_last_partitions_are_taken() -> None:
    log = Timestamps([[5, 5], [5, 6], [5]])
    taken = asyncio.run(newest(log, log.held, 3))
    assert [list(one) for one in taken.values()] == [[], [0, 1], [0]]


# --- the walk ---


def walked(
    kafka: FakeKafka, asked: Trial, held: Held, moved: Callable[[int], None], stop: asyncio.Event
) -> tuple[bool, Tally]:
    tally = Tally()
    complete = asyncio.run(walk(kafka, held, asked, None, tally, moved=moved, stop=stop))
    return complete, tally


def test_the_walk_reads_what_is_held_and_tells_how_far_it_is(tmp_path: Path) -> None:
    kafka, said = FakeKafka(), list[int]()
    kafka.topics = {
        Partition("orders", n): [order(offset=o, partition=n) for o in range(600)] for n in (0, 1)
    }
    held = {Partition("orders", 0): range(100, 600), Partition("orders", 1): range(590, 600)}
    complete, tally = walked(kafka, trial(tmp_path), held, said.append, asyncio.Event())
    assert (complete, tally.records) == (True, 510)
    assert said == [STEP_RECORDS, 2 * STEP_RECORDS, 500, 510]


def test_the_walk_ends_when_it_is_told_to_and_says_so(tmp_path: Path) -> None:
    kafka, stop = FakeKafka(), asyncio.Event()
    kafka.topics = {Partition("orders", 0): [order(offset=o) for o in range(600)]}
    complete, tally = walked(
        kafka, trial(tmp_path), {Partition("orders", 0): range(600)}, lambda _: stop.set(), stop
    )
    assert (complete, tally.records) == (False, STEP_RECORDS)


# --- how it is told ---


def test_people_see_the_most_frequent_kinds_and_how_many_others_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, tally = trial(tmp_path / "routes"), Tally()
    for n in range(MOST_SHOWN + 2):
        for record in [order(f"t{chr(65 + n)}", offset=2 * n + m) for m in range(1 + (n == 1))]:
            tally.add(record, asked.effects(record))
    file = tmp_path / "routes" / "routes.yaml"
    to_try = ToTry(load_routes(file), None, Contracts([]))
    held = {Partition("orders", 0): range(2 * MOST_SHOWN + 4)}
    show(Shown(file, None, to_try, Tried(held, [], tally), []))
    told = capsys.readouterr().out.splitlines()
    assert f"{MOST_SHOWN + 3} records would fail" in told
    first = told.index(f"{MOST_SHOWN + 3} records would fail") + 1
    assert told[first].startswith("       2  record, letter (route): no route takes type tB from orders")
    assert told[first + 1] == "          first: orders/0/2, orders/0/3"
    assert "       2  of other kinds" in told


async def test_schemas_are_fetched_before_a_record_is_tried(tmp_path: Path) -> None:
    routes = """\
version: 1
topics: {points: {format: avro, event: {type: earned}}}
routes: [{name: earned, from: points, signal: {to: "customer/${data}", name: earned}}]
"""
    source = FakeSource({7: avro("string")})
    table = table_in(tmp_path, routes)
    formats = {name: topic.format for name, topic in table.topics.items()}
    decoder = Decoder(formats, Limits(), "", Schemas(source, Limits()))
    asked = Trial(decoder, table, Explaining(table, Contracts([])), Once())
    known, strange = (Record("points", 0, n, None, framed(n, b"\x02a"), (), 0) for n in (7, 8))
    source.away = True
    with pytest.raises(NotNow, match="the registry is away"):
        await asked.prepare(known)
    source.away = False
    for one in (known, strange):
        await asked.prepare(one)
    (effect,) = asked.effects(known)
    assert (effect.becomes, effect.command and effect.command.workflow_id) == (Becomes.SIGNAL, "customer/a")
    (effect,) = asked.effects(strange)
    assert (effect.becomes, effect.stage) == (Becomes.LETTER, "decode")
    assert effect.reason == "the schema registry does not know schema 8"
