"""Facts become a journey: each cause of "the event did nothing" is told from the facts that show it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.correlation import Correlation, Seal
from service.dispatch.contracts import Contracts
from service.dispatch.explaining import Explaining
from service.dispatch.identity import command_id
from service.journeys.facts import (
    Facts,
    Form,
    InGroup,
    InLog,
    LetterFact,
    ParkFact,
    Pending,
    RouteFacts,
    Search,
    Target,
    Told,
    Unasked,
)
from service.journeys.in_temporal import told_in
from service.journeys.journey import Cause, Journey, Mark, Step
from service.journeys.judging import journey_of
from service.kafka.given_up import GiveUp
from service.kafka.members import Member, Members
from service.kafka.outside import Extent
from service.kafka.record import NO_PARTITION, Commit, Partition
from service.redrive.letterbox import Place
from service.routing.commands import Command
from service.routing.table import load_routes
from service.temporal.chronicle import Chronicle, Published
from tests.unit.records import event, record
from workflows.switchboard import Switch

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
WRITTEN_MS = int((NOW - timedelta(minutes=2)).timestamp() * 1000)
P0 = Partition("shop.orders", 0)
OFFSET = 42
PLACE = Place(P0, OFFSET)
RECORD = record(OFFSET, timestamp_ms=WRITTEN_MS)
HELD = Extent(10, 100, 100)
ROUTES = """\
version: 1
topics: {shop.orders: {}}
routes:
  - name: start
    from: shop.orders
    type: placed
    start: {workflow: Order, id: order/A, task_queue: orders, closed: skip}
  - {name: tell, from: shop.orders, type: told, signal: {to: order/A, name: paid, missing: {park: 15m}}}
  - {name: skip, from: shop.orders, type: told-or-not, signal: {to: order/A, name: paid, missing: skip}}
  - {name: stop, from: shop.orders, type: stopped, cancel: {to: order/A, closed: skip}}
  - {name: answer, from: shop.orders, type: answered, complete: {correlation: CALL, result: 1, late: skip}}
  - {name: large, from: shop.orders, type: sized, when: data.n > 10, cancel: {to: order/A}}
  - {name: broken, from: shop.orders, type: broken, cancel: {to: "order/${data.nothing}"}}
"""
BRIDGE = Members("Stable", [Member("turnout", "10.0.0.1", [P0])])
DONE = InGroup("shop", Commit(OFFSET + 1), members=BRIDGE)
NOT_DONE = InGroup("shop", Commit(OFFSET), members=BRIDGE, first=RECORD)


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Explaining:
    file: Path = tmp_path_factory.mktemp("routes") / "shop.yaml"
    call = Seal(["a secret"]).sealed(Correlation("default", "order/A", "call-1"))
    file.write_text(ROUTES.replace("CALL", call))
    return Explaining(load_routes(file), Contracts({}))


class Case:
    """A record at `PLACE`, and what is known of it."""

    def __init__(self, explaining: Explaining) -> None:
        self._explaining = explaining

    def facts(self, group: InGroup | None = DONE, **known: Any) -> Facts:
        bare = Facts(asked="e-1", form=Form.EVENT, now=NOW, place=PLACE, log=InLog(HELD, RECORD), group=group)
        return replace(bare, event=event(of=RECORD), **known)

    def route(
        self,
        kind: str,
        group: InGroup | None = DONE,
        *,
        data: Any = None,
        more: Mapping[str, Any] | None = None,
        **part: Any,
    ) -> Journey:
        """The journey of an event that one route takes; `part` is known of that."""
        return journey_of(replace(self._routed(kind, group, data, part), **(more or {})))

    def command(self, kind: str) -> Command:
        (part,) = self._routed(kind, DONE, None, {}).routes
        assert part.verdict.command
        return part.verdict.command

    def _routed(self, kind: str, group: InGroup | None, data: Any, part: Mapping[str, Any]) -> Facts:
        of = event(of=RECORD, type=kind, data=data)
        (verdict,) = [one for one in self._explaining.verdicts(of) if one.command or one.error or one.values]
        return replace(self.facts(group), event=of, routes=[RouteFacts(verdict, **part)])


@pytest.fixture
def case(explaining: Explaining) -> Case:
    return Case(explaining)


def found(journey: Journey, cause: Cause) -> Step:
    (step,) = [step for step in journey.steps if step.cause is cause]
    return step


def running(**known: Any) -> Target:
    target = Target(id="order/A", status="running", workflow="Order", task_queue="orders", pollers=2)
    return replace(target, **known)


def letter(*, route: str = "start", is_open: bool = True, minutes_ago: int = 1) -> LetterFact:
    return LetterFact(
        place=Place(Partition("shop.dead-letters", 0), 7),
        about=PLACE,
        route=route,
        stage="dispatch",
        reason="it does not fit",
        failed_at=NOW - timedelta(minutes=minutes_ago),
        open=is_open,
    )


# --- 1 to 5: in Kafka ---


def test_what_was_found_nowhere_says_where_was_looked() -> None:
    search = Search(NOW - timedelta(hours=6), {P0: range(10, 100)}, complete=True)
    journey = journey_of(Facts(asked="e-1", form=Form.EVENT, now=NOW, search=search))
    step = found(journey, Cause.NOT_IN_KAFKA)
    assert "in all of what was written to shop.orders since 2026-11-29T06:00:00Z" in step.text
    assert "--since" in step.next
    part = replace(search, complete=False)
    journey = journey_of(Facts(asked="e-1", form=Form.EVENT, now=NOW, search=part))
    assert "in a part of what was written" in found(journey, Cause.NOT_IN_KAFKA).text


def test_what_looks_like_a_place_of_no_topic_is_told_as_such() -> None:
    first, _ = journey_of(Facts(asked="order/1/2", form=Form.EVENT, now=NOW)).steps
    assert first.text == "nor is it the place of a record: there is no topic order"


@pytest.mark.parametrize(
    ("log", "cause", "said"),
    [
        (InLog(Extent(10, 42, 42)), Cause.NOT_IN_KAFKA, "nothing is written at shop.orders/0/42 yet"),
        (InLog(HELD), Cause.NOT_IN_KAFKA, "it marks a transaction, or was compacted away"),
        (InLog(HELD, RECORD, hidden=True), Cause.ABORTED, "a transaction that was aborted"),
    ],
)
def test_what_nobody_can_read_ends_the_journey(case: Case, log: InLog, cause: Cause, said: str) -> None:
    journey = journey_of(case.facts(None, log=log))
    (step,) = journey.steps
    assert (step.cause, step.mark) == (cause, Mark.WRONG)
    assert said in step.text
    assert step.next


def test_what_a_topic_lost_that_was_made_anew_is_told_by_who_knows_of_it(case: Case) -> None:
    empty, ended = InLog(Extent(0, 0, 0)), running(status="completed")
    facts = case.facts(found_by="search attribute E", workflow=ended)
    first, *_, last = journey_of(replace(facts, log=empty, event=None)).steps
    assert first.mark is Mark.UNKNOWN
    assert "made anew" in first.text
    assert "order/A, a Order, completed" in last.text


def test_what_is_behind_is_told_in_records_and_in_time(case: Case) -> None:
    first = record(38, timestamp_ms=WRITTEN_MS - 60_000)
    group = InGroup("shop", Commit(38), frozenset({40}), BRIDGE, first=first)
    journey = journey_of(case.facts(group))
    text = found(journey, Cause.NOT_READ).text
    assert "3 records before it are unfinished, the oldest 3 min old and written 1 min before it" in text
    assert not journey.is_done


def test_what_its_group_has_not_begun_with_is_not_read(case: Case) -> None:
    journey = journey_of(case.facts(InGroup("shop", members=BRIDGE)))
    assert "group shop has not begun with shop.orders[0]" in found(journey, Cause.NOT_READ).text


def test_a_paused_topic_names_who_and_why_and_how_to_resume(case: Case) -> None:
    switch = Switch(name="shop.orders", since=NOW, by="ada", because="totals in euros")
    step = found(journey_of(case.facts(NOT_DONE, paused=[switch])), Cause.PAUSED)
    assert step.text == "topic shop.orders is paused since 2026-11-29T12:00:00Z by ada: totals in euros"
    assert step.next == "turnout resume shop.orders"


def test_a_paused_pattern_holds_the_topics_that_are_read_by_it(case: Case) -> None:
    switch = Switch(name="shop-*.orders", since=NOW, by="ada", because="totals in euros")
    held = case.facts(NOT_DONE, paused=[switch], declared="shop-*.orders")
    step = found(journey_of(held), Cause.PAUSED)
    assert step.text.startswith("topic shop-*.orders is paused since")
    assert step.next == "turnout resume 'shop-*.orders'", "for a shell, which has its own use for a star"
    assert Cause.PAUSED not in journey_of(replace(held, declared="shop.orders")).causes


def test_a_new_topic_of_a_pattern_is_found_soon(case: Case) -> None:
    others = Members("Stable", [Member("turnout", "10.0.0.1", [Partition("shop-eu.orders", 0)])])
    new = case.facts(InGroup("shop", members=others), declared="shop*.orders")
    assert found(journey_of(new), Cause.STALLED).next.startswith(
        "a new topic of shop*.orders is found within 15 s"
    )
    begun = replace(new, group=InGroup("shop", Commit(OFFSET), members=others))
    assert "new topic" not in found(journey_of(begun), Cause.STALLED).next


def test_a_paused_route_holds_its_own_part(case: Case) -> None:
    switch = Switch(name="start", since=NOW, by="ada", because="stock is down")
    journey = case.route("placed", NOT_DONE, more={"paused": [switch]}, target=Target(id="order/A"))
    assert found(journey, Cause.PAUSED).route == "start"
    done = case.route("placed", DONE, more={"paused": [switch]}, target=Target(id="order/A"))
    assert Cause.PAUSED not in done.causes


@pytest.mark.parametrize(
    ("log", "group", "said", "cure"),
    [
        (
            InLog(Extent(41, 100, 100), RECORD),
            InGroup("shop", Commit(20), members=BRIDGE),
            "goes on at offset 20, which is not in the topic",
            "turnout seek shop.orders/0",
        ),
        (
            InLog(Extent(10, 40, 100), RECORD),
            InGroup("shop", Commit(40), members=BRIDGE),
            "a transaction that is still open holds shop.orders[0] from offset 40 on",
            "find-hanging",
        ),
        (
            InLog(HELD, RECORD),
            InGroup("shop", Commit(40), members=BRIDGE, first=record(40), first_unreadable=True),
            "stopped at offset 40: the client cannot read that record",
            "turnout letters add shop.orders/0/40",
        ),
        (
            InLog(HELD, RECORD),
            InGroup("shop", Commit(42), members=Members("Empty"), first=RECORD),
            "no process of group shop runs",
            "start a bridge",
        ),
        (
            InLog(HELD, RECORD),
            InGroup("shop", Commit(42), members=Members("Stable", [Member("a", "b", [])]), first=RECORD),
            "no member of group shop has shop.orders[0], of 1 member",
            "turnout status",
        ),
    ],
    ids=["expired", "open transaction", "unreadable", "no process", "no holder"],
)
def test_what_stands_still_says_why_and_what_to_do(
    case: Case, log: InLog, group: InGroup, said: str, cure: str
) -> None:
    step = found(journey_of(case.facts(group, log=log)), Cause.STALLED)
    assert step.mark is Mark.WRONG
    assert said in step.text
    assert cure in step.next


def test_a_short_transaction_and_a_rebalance_are_waited_for(case: Case) -> None:
    fresh = record(OFFSET, timestamp_ms=int(NOW.timestamp() * 1000) - 1_000)
    log = InLog(Extent(10, 40, 100), fresh)
    step = found(journey_of(case.facts(InGroup("shop", Commit(40), members=BRIDGE), log=log)), Cause.STALLED)
    assert step.mark is Mark.WAITS
    rebalance = replace(NOT_DONE, members=Members("PreparingRebalance"))
    assert found(journey_of(case.facts(rebalance)), Cause.STALLED).mark is Mark.WAITS


def test_what_a_person_gave_up_on_will_be_a_letter(case: Case) -> None:
    said = GiveUp(offset=OFFSET, timestamp_ms=WRITTEN_MS, by="ada", because="no use")
    step = found(journey_of(case.facts(replace(NOT_DONE, given_up=said))), Cause.LETTER)
    assert step.text == "ada gave up on it: no use; it will become a letter"


def test_what_is_finished_ahead_of_others_is_done(case: Case) -> None:
    ahead = journey_of(case.facts(InGroup("shop", Commit(30), frozenset({OFFSET}), BRIDGE)))
    assert ahead.steps[1].text == "group shop is done with it"
    assert ahead.is_done


# --- 6: in its lane ---


def test_an_earlier_record_of_its_key_is_named(case: Case) -> None:
    before = Place(P0, 40)
    step = found(journey_of(case.facts(replace(NOT_DONE, commit=Commit(40), before=before))), Cause.IN_LANE)
    assert "turnout where shop.orders/0/40" in step.next


def test_what_others_have_overtaken_was_read_and_waits_for_an_answer(case: Case) -> None:
    group = replace(NOT_DONE, finished=frozenset({43, 44}))
    target = Target(id="order/A", note="of task queue orders Temporal answered INVALID_ARGUMENT")
    journey = case.route("placed", group, target=target)
    step = found(journey, Cause.IN_LANE)
    assert "it was read and is not finished, while 2 records behind it are" in step.text
    assert "turnout letters add shop.orders/0/42" in step.next
    assert any("Temporal answered INVALID_ARGUMENT" in one.text for one in journey.steps)


def test_what_would_be_met_is_told_with_the_rule_of_the_route(case: Case) -> None:
    closed = Target(id="order/A", status="completed", workflow="Order", task_queue="orders")
    texts = [one.text for one in case.route("stopped", NOT_DONE, target=closed).steps]
    assert texts[-1] == "it cancels order/A; not done yet; now order/A has completed; closed: skip"
    nobody = Target(id="order/A", task_queue="orders", pollers=0)
    assert found(case.route("placed", NOT_DONE, target=nobody), Cause.NO_WORKER).mark is Mark.WAITS


# --- 7: by the routes ---


@pytest.mark.parametrize(
    ("rule", "group", "mark", "said"),
    [
        ("skip", DONE, Mark.NOTHING, "unmatched: skip"),
        ("dead-letter", NOT_DONE, Mark.WAITS, "it will become a letter"),
        ("dead-letter", DONE, Mark.UNKNOWN, "there is no letter of it any more"),
    ],
)
def test_what_no_route_takes_goes_by_the_rule_of_its_topic(
    case: Case, rule: str, group: InGroup, mark: Mark, said: str
) -> None:
    step = found(journey_of(case.facts(group, unmatched=rule)), Cause.NO_ROUTE)
    assert step.mark is mark
    assert said in step.text


def test_what_lies_in_a_topic_that_no_route_reads_is_told_as_such(case: Case) -> None:
    journey = journey_of(case.facts(InGroup("shop"), unread=True))
    assert journey.steps[-1].text == "no route reads topic shop.orders"
    assert journey.causes == [Cause.NO_ROUTE]


def test_a_false_condition_names_the_value_that_decided(case: Case) -> None:
    journey = case.route("sized", data={"n": 3})
    step = found(journey, Cause.NO_ROUTE)
    assert (step.text, step.values, step.route) == ("nothing: `data.n > 10` is false", {"data.n": 3}, "large")
    assert journey.is_done


def test_what_is_no_event_will_be_a_letter_and_a_tombstone_none(case: Case) -> None:
    facts = replace(case.facts(NOT_DONE), event=None)
    undecodable = journey_of(replace(facts, undecodable="the value is not JSON"))
    assert "it is no event, and will become a letter: the value is not JSON" in undecodable.steps[-1].text
    lost = journey_of(replace(facts, group=DONE, undecodable="the value is not JSON"))
    assert (lost.steps[-1].mark, lost.is_done) == (Mark.UNKNOWN, False)
    tombstone = journey_of(replace(facts, group=DONE, tombstone=True))
    assert tombstone.is_done


def test_a_mistake_of_a_route_will_be_a_letter(case: Case) -> None:
    journey = case.route("broken", NOT_DONE)
    assert journey.steps[-1].text.startswith("it will become a letter: ")
    assert not case.route("broken", DONE).is_done


# --- 8 to 11: letters, parks, duplicates, the inbox ---


def test_an_open_letter_holds_and_the_newest_of_those_that_are_done_with_is_told(case: Case) -> None:
    both = [letter(is_open=False, minutes_ago=1), letter(minutes_ago=5)]
    journey = case.route("placed", letters=both, target=running())
    step = found(journey, Cause.LETTER)
    assert (step.mark, journey.steps[-1]) == (Mark.WRONG, step)
    assert "turnout letters send shop.dead-letters/0/7" in step.next
    assert "of stage dispatch" in step.text


def test_a_letter_that_was_sent_again_is_told_with_what_came_of_it(case: Case) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    journey = case.route("placed", letters=[letter(is_open=False)], target=running(memo=memo))
    assert found(journey, Cause.LETTER).mark is Mark.NOTHING
    assert any(one.text == "it started order/A, a Order" for one in journey.steps)
    assert journey.is_done
    discarded = case.route("placed", letters=[letter(is_open=False)], target=Target(id="order/A"))
    assert "discarded" in discarded.steps[-1].text
    assert discarded.is_done


def test_a_park_tells_for_whom_which_place_and_until_when(case: Case) -> None:
    park = ParkFact(
        "parked/shop/order/A",
        "order/A",
        2,
        3,
        "workflow order/A does not exist",
        gives_up_at=NOW,
        next_try=NOW,
    )
    journey = case.route("told", park=park, target=Target(id="order/A"))
    step = found(journey, Cause.PARKED)
    assert step.text.startswith("parked for order/A, 2 of 3, next try at 2026-11-29T12:00:00Z, gives up at ")
    assert "cancel parked/shop/order/A in the Temporal UI" in step.next


def test_commands_before_it_in_a_park_are_told_to_one_that_is_not_done(case: Case) -> None:
    park = ParkFact("parked/shop/order/A", "order/A", 0, 3)
    journey = case.route("told", NOT_DONE, park=park, target=running(told=Told()))
    assert "commands before it are parked for order/A: 3" in found(journey, Cause.PARKED).text


def test_what_another_record_started_is_a_duplicate(case: Case) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": "shop.orders[0]@17"}
    journey = case.route("placed", target=running(memo=memo))
    step = found(journey, Cause.DUPLICATE)
    assert "record shop.orders[0]@17 brought the same event before" in step.text
    assert journey.is_done


def test_a_signal_that_an_earlier_record_brought_is_a_duplicate(case: Case) -> None:
    told = Told(times=1, taken=True, at=NOW)
    target = running(told=told, handlers=["paid"])
    journey = case.route("told", more={"earlier": [Place(P0, 17)]}, target=target)
    assert "record shop.orders/0/17 brought the same event" in found(journey, Cause.DUPLICATE).text
    assert not case.route("told", target=target).causes


@pytest.mark.parametrize("told", [Told(times=2, taken=True, at=NOW), Told(times=1, carried=True, taken=True)])
def test_what_is_told_twice_is_dropped_by_the_inbox(case: Case, told: Told) -> None:
    journey = case.route("told", target=running(told=told, handlers=["paid"]))
    assert "it came 2 times" in found(journey, Cause.INBOX).text
    assert journey.is_done


def test_what_an_earlier_run_took_is_done(case: Case) -> None:
    journey = case.route("told", target=running(told=Told(carried=True), handlers=["paid"]))
    assert (journey.is_done, journey.causes) == (True, [])


# --- 12: Temporal's to answer for ---


def test_a_signal_without_a_handler_names_those_that_there_are(case: Case) -> None:
    told = Told(times=1, taken=True, at=NOW)
    journey = case.route("told", target=running(told=told, handlers=["note", "end"]))
    assert found(journey, Cause.NO_HANDLER).text.endswith("which waits in vain; it has end, note")
    assert case.route("told", target=running(told=told, handlers=[""])).is_done
    not_known = case.route("told", target=running(told=told, handlers=None))
    assert (not_known.is_done, not_known.steps[-1].mark) == (False, Mark.UNKNOWN)


def test_an_answer_of_its_worker_that_we_have_no_key_for_is_told_as_such(case: Case) -> None:
    target = running(told=Told(1, taken=True, at=NOW), handlers_hidden="there are no keys; set them")
    step = case.route("told", target=target).steps[-1]
    assert step.mark is Mark.UNKNOWN
    assert "not known: there are no keys; set them" in step.text
    assert "no worker answers" not in step.text


def test_no_worker_a_failing_task_and_an_activity_are_told_apart(case: Case) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    nobody = case.route("placed", target=running(memo=memo, pollers=0, task_waits=1))
    assert found(nobody, Cause.NO_WORKER).next.startswith("start a worker for task queue orders")
    failing = case.route("placed", target=running(memo=memo, task_waits=7))
    assert "its task fails, and is tried for the 7th time" in found(failing, Cause.WORKFLOW).text
    waits = running(memo=memo, pending=[Pending("charge", attempt=3, failure="declined")])
    assert (
        "activity charge, attempt 3: declined"
        in found(case.route("placed", target=waits), Cause.WORKFLOW).text
    )


@pytest.mark.parametrize("status", ["failed", "timed-out", "terminated"])
def test_a_workflow_that_did_not_end_well_is_wrong(case: Case, status: str) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    journey = case.route("placed", target=running(status=status, memo=memo, closed_at=NOW))
    assert found(journey, Cause.WORKFLOW).mark is Mark.WRONG


def test_a_signal_that_its_workflow_never_took_is_wrong(case: Case) -> None:
    journey = case.route("told", target=running(status="completed", told=Told(times=1)))
    assert "it closed before its handler ran" in found(journey, Cause.WORKFLOW).text


@pytest.mark.parametrize(
    ("known", "mark", "said"),
    [
        ({"pending": [Pending("publish", failure="no topic")]}, Mark.WRONG, "activity publish: no topic"),
        ({"pending": [Pending("publish")]}, Mark.WAITS, "it waits for activity publish"),
        (
            {"published": [Published("sent", "out", failure="no JSON")]},
            Mark.WRONG,
            "sent is not published on out",
        ),
        (
            {"status": "completed", "published": [Published("sent", "out")]},
            Mark.WRONG,
            "it closed before 1 result of it was in Kafka",
        ),
        ({"status": "completed", "callbacks": [("failed", "404")]}, Mark.WRONG, "is not published: 404"),
        ({"status": "completed", "callbacks": [("backing_off", "")]}, Mark.WAITS, "is not published yet"),
    ],
)
def test_a_result_that_is_not_published_is_told(
    case: Case, known: Mapping[str, Any], mark: Mark, said: str
) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    step = found(case.route("placed", target=running(memo=memo, **known)), Cause.NOT_PUBLISHED)
    assert step.mark is mark
    assert said in step.text
    assert step.next


def test_results_are_told_with_their_places(case: Case) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    target = running(
        status="completed",
        memo=memo,
        published=[Published("sent", "out", 1, 17)],
        callbacks=[("succeeded", "")],
    )
    journey = case.route("placed", target=target)
    assert [one.text for one in journey.steps[-2:]] == [
        "it published sent: out/1/17",
        "how it ended is published",
    ]
    assert journey.is_done


# --- rules, and what is out of sight ---


def test_a_result_whose_place_is_not_readable_is_published_all_the_same(case: Case) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    results = [Published("", "", hidden="there are no keys; set them")]
    journey = case.route("placed", target=running(status="completed", memo=memo, published=results))
    step = journey.steps[-1]
    assert (step.mark, step.cause) == (Mark.UNKNOWN, None)
    assert step.text == "it published a result; where is not known: there are no keys; set them"
    assert not journey.is_done


def test_a_rule_that_skips_is_told_and_what_is_out_of_sight_is_not_called_done(case: Case) -> None:
    closed = running(status="completed", memo={"id": "another", "record": "shop.orders[0]@1"})
    skipped = case.route("placed", target=closed)
    assert found(skipped, Cause.RULE).text.endswith("the route says closed: skip")
    assert skipped.is_done
    missing = case.route("told-or-not", target=Target(id="order/A"))
    assert found(missing, Cause.RULE).text.endswith("the route says missing: skip")
    forgotten = case.route("placed", target=Target(id="order/A"))
    assert not forgotten.is_done
    assert "longer ago than its namespace remembers" in forgotten.steps[-1].text
    long = case.route("told", target=running(told=Told(whole=False)))
    assert "too long to be looked through" in long.steps[-1].text


def test_a_cancel_that_was_asked_is_done(case: Case) -> None:
    target = running(status="canceled", cancel_requested=True)
    journey = case.route("stopped", target=target)
    assert any("was asked to cancel itself" in one.text for one in journey.steps)
    assert journey.is_done


def test_a_reply_is_done_once_no_call_waits_for_it_and_its_record_is_finished(case: Case) -> None:
    waits = running(pending=[Pending("call", id="call-1")])
    no_more = running(pending=[Pending("call", id="call-2")])
    assert any("no call any more" in one.text for one in case.route("answered", target=no_more).steps)
    late = case.route("answered", NOT_DONE, target=no_more).steps[-1].text
    assert late.endswith("now order/A has no call that waits for this reply; late: skip")
    still = case.route("answered", NOT_DONE, target=waits).steps[-1].text
    assert still.endswith("now a call of order/A waits for this reply")
    lost = case.route("answered", target=waits)
    assert "a call of order/A waits for this reply" in lost.steps[-1].text
    assert not lost.is_done


def test_what_could_not_be_asked_leaves_the_journey_open(case: Case) -> None:
    memo = {"id": str(command_id(case.command("placed"))), "record": str(RECORD)}
    known = case.route("placed", target=running(memo=memo))
    assert known.is_done
    assert not replace(known, unasked=[Unasked("Kafka", "away")]).is_done
    alone = journey_of(Facts(asked="order/A", form=Form.WORKFLOW, now=NOW, place=PLACE, workflow=running()))
    assert "what Kafka says of it is not known" in alone.steps[0].text
    assert alone.steps[-1].text.startswith("order/A, a Order, is running")


def test_a_workflow_of_others_is_told_as_such() -> None:
    journey = journey_of(Facts(asked="order/A", form=Form.WORKFLOW, now=NOW, workflow=running()))
    assert journey.steps[0].text == "no record of ours is known to have led to order/A"


@pytest.mark.parametrize("form", [Form.EVENT, Form.WORKFLOW])
def test_what_came_through_the_handler_api_is_told_as_such(form: Form) -> None:
    memo = {"record": f"shop.orders[{NO_PARTITION}]@1839105089819527168", "event": "e-1"}
    journey = journey_of(Facts(asked="e-1", form=form, now=NOW, workflow=running(memo=memo)))
    came, *workings = journey.steps
    assert (came.mark, came.text) == (Mark.DONE, "order/A was started through the handler API, by no record")
    assert workings[0].text.startswith("order/A, a Order, is running")


def test_what_is_parked_and_came_through_the_handler_api_is_told_as_such() -> None:
    place = Place(Partition("shop.orders", NO_PARTITION), 1839105089819527168)
    journey = journey_of(Facts(asked="e-1", form=Form.EVENT, now=NOW, place=place, found_by="a park"))
    (step,) = journey.steps
    assert step.text.startswith("it came through the handler API, and lies in no topic (found by a park); ")
    assert not journey.is_done


def test_where_nothing_was_written_no_topic_is_said_to_have_been_looked_through() -> None:
    journey = journey_of(Facts(asked="e-1", form=Form.EVENT, now=NOW, search=Search(NOW, {}, complete=True)))
    assert journey.steps[0].text.startswith(
        "no record of event e-1 was found: the routes read no topic that there is, and no"
    )


# --- for all facts ---

MAYBE_MEMBERS = st.sampled_from([None, BRIDGE, Members("Empty"), Members("PreparingRebalance")])
LOGS = st.builds(
    InLog,
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60)).map(
        lambda three: Extent(*sorted(three))
    ),
    st.sampled_from([None, RECORD]),
    st.booleans(),
    st.booleans(),
)
GROUPS = st.builds(
    InGroup,
    st.just("shop"),
    st.none() | st.integers(0, 60).map(Commit),
    st.frozensets(st.integers(0, 60), max_size=5),
    MAYBE_MEMBERS,
    st.sampled_from([None, RECORD, record(7)]),
    st.booleans(),
    st.sampled_from([None, Place(P0, 7)]),
)


@given(st.none() | LOGS, st.none() | GROUPS, st.sampled_from(["", "skip", "dead-letter"]), st.booleans())
def test_whatever_the_facts_what_is_wrong_says_what_to_do_and_only_what_is_finished_is_done(
    log: InLog | None, group: InGroup | None, unmatched: str, decoded: bool
) -> None:
    known = event(of=RECORD) if decoded else None
    facts = Facts(
        asked="e-1",
        form=Form.EVENT,
        now=NOW,
        place=PLACE,
        log=log,
        group=group,
        event=known,
        unmatched=unmatched,
    )
    journey = journey_of(facts)
    for step in journey.steps:
        assert step.text
        assert step.next or step.mark is not Mark.WRONG
    if group and not group.has_finished(OFFSET):
        assert not journey.is_done


# --- what histories tell ---


def chronicle(*told: int, task: int = 0, seen: Sequence[bytes] = (), continued: str = "") -> Chronicle:
    """One run, told of event `E` by signals of these numbers; `task` is the last that was done."""
    return Chronicle(
        told={E: [NOW + timedelta(seconds=n) for n in told]} if told else {},
        first_told={E: told[0]} if told else {},
        seen=frozenset(seen),
        last_task=task,
        continued=continued,
    )


E = b"0123456789abcdef"


def test_a_signal_is_counted_in_all_runs_and_once_where_the_inbox_carried_it() -> None:
    assert told_in([chronicle(5, task=6)], E) == Told(
        1, carried=False, taken=True, at=NOW + timedelta(seconds=5)
    )
    assert not told_in([chronicle(7, task=6)], E).taken
    assert told_in([chronicle(5, 9, task=10)], E).times == 2
    # The run before has it, and gave it on: that is no repeat.
    both = [chronicle(seen=[E], continued="first"), chronicle(5, task=6)]
    assert (told_in(both, E).times, told_in(both, E).carried) == (1, False)
    # Of the run before, nothing is left to read.
    assert told_in([chronicle(seen=[E], continued="gone")], E).carried
    assert told_in([chronicle(9, task=10, seen=[E], continued="gone")], E).carried


def test_the_page_has_every_cause_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/where.md").read_text()
    table = page[page.index("| | cause |") : page.index("Exit codes: 0 all")]
    rows = [line.split(" | ")[2] for line in table.splitlines() if re.match(r"\| \d+ \|", line)]
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)} | {"skipped-by-rule"}
    assert "`skipped-by-rule`" in table
    assert len(rows) == 12
    assert named == {cause.value for cause in Cause}
