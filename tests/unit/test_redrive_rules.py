"""What keeps a letter from being sent, what today's routes would do with it, and letters by their kind."""

from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from activities.correlation import Correlation, Seal
from service.dispatch.contracts import Contracts
from service.errors import DecodeError, RejectedError
from service.failures.letters import Letter
from service.kafka.record import Record
from service.redrive import counting
from service.redrive.counting import Counts, kind_of
from service.redrive.guards import MOST_SENDS, Guards
from service.redrive.letterbox import open_letterbox
from service.redrive.preview import Preview
from tests.unit.letter_world import GROUP, NOW, ROUTES, FakeKafka, change, decoder_of, fact, lying, table_in
from tests.unit.records import record

RETENTION = timedelta(days=3)


async def letters_in(kafka: FakeKafka) -> list[Letter]:
    walk = (await open_letterbox(kafka, GROUP)).walk()
    return [found.letter async for found in walk if found.letter]


async def letter(of: Record, *, route: str = "first", **headers: str) -> Letter:
    kafka = FakeKafka()
    await kafka.give_up(of, route=route)
    change(kafka, lying(0), **headers)
    (one,) = await letters_in(kafka)
    return one


# --- guards ---


def guards(*, accept_repeats: bool = False, insist: bool = False) -> Guards:
    return Guards(retention=RETENTION, now=NOW, accept_repeats=accept_repeats, insist=insist)


@pytest.mark.parametrize(
    ("sends", "refused"), [(0, False), (MOST_SENDS - 1, False), (MOST_SENDS, True), (9, True)]
)
async def test_a_letter_that_came_back_three_times_is_refused_unless_someone_insists(
    sends: int, refused: bool
) -> None:
    one = await letter(fact(), sends=str(sends), first_failed_at=NOW.isoformat())
    assert ("send it with --insist" in guards().obstacle(one)) == refused
    assert guards(insist=True).obstacle(one) == ""


@pytest.mark.parametrize(
    ("record_age", "failure_age", "refused"),
    [
        (timedelta(days=2), timedelta(days=2), False),
        (timedelta(days=4), timedelta(hours=1), True),
        (timedelta(days=-4000), timedelta(days=2), False),  # a producer's clock in the future
        (timedelta(days=-4000), timedelta(days=4), True),
        (None, timedelta(days=2), True),  # -1: no time at all
    ],
)
async def test_a_letter_whose_record_is_older_than_temporal_remembers_is_refused_unless_repeats_are_accepted(
    record_age: timedelta | None, failure_age: timedelta, refused: bool
) -> None:
    written = -1 if record_age is None else int((NOW - record_age).timestamp() * 1000)
    one = await letter(fact(timestamp_ms=written), first_failed_at=(NOW - failure_age).isoformat())
    assert ("send it with --accept-repeats" in guards().obstacle(one)) == refused
    assert guards(accept_repeats=True).obstacle(one) == ""


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, -(2**63), 10**17])
async def test_any_timestamp_has_an_age(timestamp_ms: int) -> None:
    one = await letter(fact(timestamp_ms=timestamp_ms), first_failed_at=(NOW - 9 * RETENTION).isoformat())
    assert guards().obstacle(one)


@pytest.mark.parametrize(("hours", "said"), [(84, "3.5"), (24 * 12_345, "12345")])
async def test_the_ages_are_said(hours: int, said: str) -> None:
    one = await letter(fact(timestamp_ms=int((NOW - timedelta(hours=hours)).timestamp() * 1000)))
    assert f"its record is {said} days old, and Temporal remembers 3 days" in guards().obstacle(one)


# --- previews ---


def preview(folder: Path, routes: str = ROUTES, seal: Seal | None = None) -> Preview:
    table = table_in(folder, routes)
    return Preview(decoder_of(table), table, Contracts([]), seal)


async def test_a_letter_of_a_route_is_told_what_that_route_would_do(tmp_path: Path) -> None:
    one = await letter(fact(id="A-1", type="both"), route="second")
    assert preview(tmp_path).told(one) == ["route second: signals ordered to customer/A-1"]


async def test_a_letter_without_route_is_told_what_all_would_do(tmp_path: Path) -> None:
    one = await letter(fact(id="A-1", type="both"), route="")
    assert preview(tmp_path).told(one) == [
        "route first: starts Order order/A-1 on orders",
        "route second: signals ordered to customer/A-1",
    ]


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (fact(value=b"{"), "fails again: the value is not JSON"),
        (fact(value=b"{}"), "route first: fails again: id: "),
        (fact(type="unknown"), "fails again: no route takes type unknown"),
        (fact(type="unknown", topic="shop.news"), "nothing: no route takes type unknown"),
        (fact(topic="gone"), "fails again: topic gone is not declared"),
    ],
)
async def test_what_would_fail_again_is_told_with_the_reason(tmp_path: Path, of: Record, told: str) -> None:
    one = await letter(of, route="")
    (line,) = preview(tmp_path).told(one)
    assert line.startswith(told)


async def test_a_forged_reply_and_what_does_not_fit_its_contract_are_told_to_fail_again(
    tmp_path: Path,
) -> None:
    seal, to = Seal(["ours"]), Correlation("default", "order/A-1", "r-1")
    routes = "version: 1\ntopics: {shop.orders: {}}\nroutes:\n  - name: first\n    from: shop.orders\n"
    reply = routes + '    complete: {correlation: "${data.to}", result: "${data}"}\n'
    for signer, told in {
        seal: "route first: completes a call of order/A-1 in namespace default",
        Seal(["theirs"]): "route first: fails again: correlation: it is not signed by us",
    }.items():
        one = await letter(fact(value=orjson.dumps({"to": signer.sealed(to)})))
        (line,) = preview(tmp_path, reply, seal).told(one)
        assert line.startswith(told)
    start = "    start: {workflow: W, id: x, task_queue: q, input: 1, contract: {type: string}}\n"
    (line,) = preview(tmp_path, routes + start).told(await letter(fact()))
    assert line.startswith("route first: fails again: the input does not fit the contract of workflow W")


async def test_a_false_when_and_a_tombstone_are_told_to_do_nothing(tmp_path: Path) -> None:
    quiet = ROUTES.replace(
        "    type: [placed, both]\n", '    type: [placed, both]\n    when: data.id == "B"\n'
    )
    quiet = quiet.replace("shop.orders: {}", "shop.orders: {tombstones: skip}")
    told = preview(tmp_path, quiet).told(await letter(fact()))
    assert told == ["route first: nothing, its `when` is false"]
    told = preview(tmp_path, quiet).told(await letter(record(topic="shop.orders", value=None)))
    assert told == ["nothing: tombstones of its topic are skipped"]


async def test_a_route_that_is_gone_is_an_obstacle_with_a_cure(tmp_path: Path) -> None:
    one = await letter(fact(), route="renamed")
    here = preview(tmp_path)
    assert here.obstacle(one).startswith(
        "route renamed is in no file any more; give the rule that replaced it"
    )
    assert here.told(one) == [here.obstacle(one)]


async def test_a_route_that_takes_the_events_type_no_more_is_an_obstacle_too(tmp_path: Path) -> None:
    one = await letter(fact(type="cancelled"))
    assert preview(tmp_path).obstacle(one).startswith("route first does not take type cancelled")


async def test_a_letter_that_would_only_fail_again_has_no_obstacle(tmp_path: Path) -> None:
    for of, route in [(fact(value=b"{"), "first"), (fact(value=b"{}"), "first"), (fact(type="unknown"), "")]:
        assert preview(tmp_path).obstacle(await letter(of, route=route)) == ""


# --- kinds ---


async def test_letters_are_of_one_kind_whatever_ids_and_numbers_their_reasons_hold() -> None:
    kafka = FakeKafka()
    for n in (1, 20):
        reason = f"workflow order/A-{n} has closed, is 70{n} bytes; write `closed: skip` in UTF-8 at 1.2"
        await kafka.give_up(fact(n), error=RejectedError(reason))
        change(kafka, lying(n // 20), workflow_id=f"order/A-{n}")
    one, other = map(kind_of, await letters_in(kafka))
    assert one == other
    assert one.reason == "workflow … has closed, is # bytes; write `closed: skip` in UTF-8 at 1.2"


async def test_letters_are_counted_the_largest_kind_first_with_first_and_last_failure() -> None:
    kafka = FakeKafka()
    await kafka.give_up(fact(1), fact(2))
    await kafka.give_up(fact(3), error=DecodeError("is no JSON"), route="")
    for offset, day in enumerate("312"):
        change(kafka, lying(offset), failed_at=f"2026-01-0{day}T00:00:00+00:00")
    counts = Counts()
    for one in await letters_in(kafka):
        counts.add(one)
    (first, most), (second, _) = counts.by_number()
    assert (first.reason, most.letters, most.first.day, most.last.day) == ("is too large", 2, 1, 3)
    assert (second.stage, second.reason, counts.letters) == ("decode", "is no JSON", 3)


async def test_kinds_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_KINDS", 2)
    kafka = FakeKafka()
    for reason in ("a", "b", "c", "d", "a"):
        await kafka.give_up(fact(), error=RejectedError(reason))
    counts = Counts()
    for one in await letters_in(kafka):
        counts.add(one)
    kinds = {kind.reason: count.letters for kind, count in counts.by_number()}
    assert kinds == {"a": 2, "b": 1, "(other reasons)": 2}
