"""The checker's figures, against histories made to be good and then spoilt in one way each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.delivery.checker import (
    MUST_BE_ZERO,
    Effect,
    End,
    Entry,
    Event,
    Fate,
    Handled,
    History,
    Lettered,
    Logged,
    Part,
    Published,
    Report,
    Spot,
    check,
    recovery,
)

Draw = Any  # hypothesis calls it DrawFn, and it takes any strategy
ROUTES = ("a", "b")
WAYS: Sequence[Mapping[str, End]] = (
    {"": End.LETTER},
    {"a": End.EFFECT},
    {"a": End.EFFECT, "b": End.EFFECT},
    {"a": End.EFFECT, "b": End.LETTER},
    {"a": End.SKIPPED, "b": End.EFFECT},
    {"b": End.PARKED},
)
KINDS = {End.EFFECT: "accepted", End.LETTER: "dead-lettered", End.PARKED: "parked", End.SKIPPED: "skipped"}
busy = settings(deadline=None)  # servers may take the processor meanwhile


@st.composite
def sound_histories(draw: Draw) -> History:
    """Histories of a service that keeps its promise, with repeats, bad events and producers in doubt."""
    entries: list[Entry] = []
    log: list[Logged] = []
    for key in range(draw(st.integers(1, 3))):
        records: list[str] = []
        for n in range(draw(st.integers(1, 6))):
            event = Event(f"{key}-{n}", str(key), draw(st.sampled_from(WAYS)))
            fate = draw(st.sampled_from([Fate.ACKED, Fate.ACKED, Fate.UNKNOWN, Fate.FAILED]))
            entries.append(Entry(event, fate))
            times = {Fate.ACKED: st.integers(1, 2), Fate.UNKNOWN: st.integers(0, 2), Fate.FAILED: st.just(0)}
            records += [event.id] * draw(times[fate])
            if records and draw(st.booleans()):
                records.append(draw(st.sampled_from(records)))  # an earlier one comes again
        log += [Logged(event, Spot(key, 2 * offset), float(offset)) for offset, event in enumerate(records)]
    by_id = {entry.event.id: entry.event for entry in entries}
    firsts = list(dict.fromkeys(logged.event for logged in log))

    def ended(end: End) -> list[Part]:
        return [Part(id_, route) for id_ in firsts for route, its in by_id[id_].routes.items() if its is end]

    effects = ended(End.EFFECT)
    return History(
        entries=entries,
        log=log,
        effects=[Effect(event, route, by_id[event].key) for event, route in effects],
        parked=ended(End.PARKED),
        letters=[
            Lettered(logged.event, route, logged.spot)
            for logged in log
            for route, end in by_id[logged.event].routes.items()
            if end is End.LETTER
        ],
        handled=[
            Handled(logged.spot, route, logged.at + 0.5, KINDS[end])
            for logged in log
            for route, end in by_id[logged.event].routes.items()
        ],
        results=[Published(event, f"result of {event}") for event, route in effects if route == "a"],
        answered=frozenset({"a"}),
        window=10,
        held=3,
        ended=100.0,
    )


with_effects = sound_histories().filter(lambda history: bool(history.effects))


def without(history: History, effect: Effect) -> History:
    return replace(history, effects=[one for one in history.effects if one != effect])


def with_letter(history: History, event: str, route: str, *, sent_again: bool = False) -> History:
    letter = Lettered(event, route, Spot(9, 0), sent_again)
    return replace(history, letters=[*history.letters, letter])


def counts(report: Report) -> dict[str, int]:
    return {name: figure.count for name, figure in report.faults.items()}


@busy
@given(sound_histories())
def test_a_kept_promise_is_seen_as_such(history: History) -> None:
    report = check(history)
    written = {logged.event for logged in history.log}
    assert not report.faults
    assert report.settled
    ends = {
        End.EFFECT: report.effects,
        End.PARKED: report.parked,
        End.LETTER: report.letters,
        End.SKIPPED: report.skipped,
    }
    assert sum(figure.count for figure in ends.values()) == report.lost.of == report.phantom.of
    for end, figure in ends.items():
        wanted = [way for e in history.entries for way in e.event.routes.values() if e.event.id in written]
        assert (figure.count, figure.of) == (wanted.count(end), report.lost.of)
    assert report.unknown.count == sum(entry.fate is Fate.UNKNOWN for entry in history.entries)
    assert report.replayed.count == 0
    assert report.stalled.seconds <= 0.5 + 1e-9


@busy
@given(with_effects, st.data())
def test_an_effect_that_is_missing_is_lost_unless_there_is_a_letter_of_it(
    history: History, data: st.DataObject
) -> None:
    missing = data.draw(st.sampled_from(history.effects))
    spoilt = without(history, missing)
    assert counts(check(spoilt)) == {"lost": 1}
    assert not check(spoilt).settled
    assert counts(check(with_letter(spoilt, missing.event, missing.route))) == {"misjudged": 1}
    other = next(route for route in ROUTES if route != missing.route)
    assert counts(check(with_letter(spoilt, missing.event, other)))["lost"] == 1


@busy
@given(with_effects, st.data())
def test_an_effect_whose_route_made_a_letter_too_ended_in_two_ways(
    history: History, data: st.DataObject
) -> None:
    effect = data.draw(st.sampled_from(history.effects))
    report = check(with_letter(history, effect.event, effect.route))
    assert counts(report) == {"contradicted": 1}
    assert f"{effect.event} by {effect.route}: effect and letter" in str(report)
    # No route runs for a record whose letter has none.
    others = len(next(e.event.routes for e in history.entries if e.event.id == effect.event)) - 1
    found = counts(check(with_letter(without(history, effect), effect.event, "")))
    assert found.pop("misjudged") == 1
    assert sum(found.values()) <= others


@busy
@given(with_effects, st.data())
def test_a_letter_that_was_sent_again_is_no_end_and_comes_after_everything(
    history: History, data: st.DataObject
) -> None:
    effect = data.draw(st.sampled_from(history.effects))
    effects = [*(one for one in history.effects if one != effect), effect]
    route = data.draw(st.sampled_from([effect.route, ""]))
    sent_again = with_letter(replace(history, effects=effects), effect.event, route, sent_again=True)
    # Those of its other routes stand where they did.
    assert not counts(check(sent_again))
    assert counts(check(without(sent_again, effect))) == {"lost": 1}
    twice = check(replace(sent_again, effects=[*effects, effect]))
    assert counts(twice) == {"duplicated": 1}


@busy
@given(with_effects, st.data())
def test_sending_a_letter_again_by_all_routes_is_seen_where_another_one_had_run(
    history: History, data: st.DataObject
) -> None:
    """What a route had done before is done twice, or what it had skipped or lettered is not its end."""
    effect = data.draw(st.sampled_from(history.effects))
    event = next(e.event for e in history.entries if e.event.id == effect.event)
    others = [route for route in event.routes if route != effect.route]
    again = [Effect(event.id, route, effect.target) for route in others]
    sent_again = with_letter(history, event.id, effect.route, sent_again=True)
    found = counts(check(replace(sent_again, effects=[*history.effects, *again])))
    assert found.get("duplicated", 0) + found.get("contradicted", 0) == len(others)


@busy
@given(sound_histories().filter(lambda history: bool(history.letters)), st.data())
def test_a_bad_event_without_its_letter_is_lost(history: History, data: st.DataObject) -> None:
    missing = data.draw(st.sampled_from(history.letters)).event
    letters = [letter for letter in history.letters if letter.event != missing]
    assert counts(check(replace(history, letters=letters))) == {"lost": 1}


@busy
@given(sound_histories().filter(lambda history: bool(history.letters)), st.data())
def test_a_letter_that_is_written_again_counts_once(history: History, data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(history.letters))
    report = check(replace(history, letters=[*history.letters, again]))
    assert not report.faults
    assert (report.letters_repeated.count, report.letters_repeated.of) == (1, len(history.letters))


@busy
@given(sound_histories().filter(lambda history: bool(history.letters)), st.data())
def test_an_effect_of_what_had_to_be_a_letter_is_found(history: History, data: st.DataObject) -> None:
    letter = data.draw(
        st.sampled_from([x for x in history.letters if x.route])
        if any(x.route for x in history.letters)
        else st.none()
    )
    if letter is None:
        return
    effects = [*history.effects, Effect(letter.event, letter.route, "elsewhere")]
    assert counts(check(replace(history, effects=effects))) == {"contradicted": 1}
    letters = [x for x in history.letters if x.event != letter.event]
    assert counts(check(replace(history, effects=effects, letters=letters))) == {"misjudged": 1}


@busy
@given(with_effects, st.data())
def test_what_stays_in_a_park_though_its_target_is_there_is_told_apart(
    history: History, data: st.DataObject
) -> None:
    effect = data.draw(st.sampled_from(history.effects))
    in_park = replace(history, parked=[*history.parked, Part(effect.event, effect.route)])
    assert counts(check(without(in_park, effect))) == {"left_parked": 1}
    assert counts(check(in_park)) == {"contradicted": 1}
    assert not check(in_park).settled
    strange = check(replace(history, parked=[*history.parked, Part("never", "a")]))
    assert counts(strange) == {"phantom": 1}


@busy
@given(sound_histories().filter(lambda history: bool(history.parked)), st.data())
def test_what_nobody_takes_is_lost_unless_it_is_in_its_park(history: History, data: st.DataObject) -> None:
    missing = data.draw(st.sampled_from(history.parked))
    spoilt = replace(history, parked=[part for part in history.parked if part != missing])
    assert counts(check(spoilt)) == {"lost": 1}
    assert counts(check(with_letter(spoilt, *missing))) == {"misjudged": 1}


@busy
@given(with_effects, st.data())
def test_effects_that_a_park_held_before_are_counted(history: History, data: st.DataObject) -> None:
    effect = data.draw(st.sampled_from(history.effects))
    spot = next(logged.spot for logged in history.log if logged.event == effect.event)
    by_park = replace(history, handled=[*history.handled, Handled(spot, effect.route, 0, "parked")])
    report = check(by_park)
    assert (report.by_park.count, report.by_park.of) == (1, len(history.effects))
    assert report.replayed.count == 0
    assert check(replace(by_park, handled=[*by_park.handled, by_park.handled[-1]])).replayed.count == 1


@busy
@given(sound_histories(), st.data())
def test_a_skip_that_no_bridge_tells_of_is_lost_and_one_of_a_good_event_is_misjudged(
    history: History, data: st.DataObject
) -> None:
    untold = replace(history, handled=[one for one in history.handled if one.kind != "skipped"])
    assert counts(check(untold)).get("lost", 0) == check(history).skipped.count
    if history.effects:
        effect = data.draw(st.sampled_from(history.effects))
        spot = next(logged.spot for logged in history.log if logged.event == effect.event)
        skipped = replace(history, handled=[*history.handled, Handled(spot, effect.route, 0, "skipped")])
        assert counts(check(skipped)) == {"contradicted": 1}
        assert counts(check(without(skipped, effect))) == {"misjudged": 1}


@busy
@given(with_effects, st.data())
def test_what_an_unsure_producer_did_write_can_be_lost_and_what_it_did_not_cannot(
    history: History, data: st.DataObject
) -> None:
    missing = data.draw(st.sampled_from(history.effects))
    unsure = replace(
        history,
        entries=[
            replace(e, fate=Fate.UNKNOWN) if e.event.id == missing.event else e for e in history.entries
        ],
        effects=[e for e in history.effects if e.event != missing.event],
    )
    assert check(unsure).lost.count == len({e.route for e in history.effects if e.event == missing.event})
    unwritten = replace(unsure, log=[logged for logged in history.log if logged.event != missing.event])
    assert check(unwritten).lost.count == 0


@busy
@given(with_effects, st.integers(1, 3), st.data())
def test_each_effect_beyond_the_first_is_a_duplicate_and_nothing_else(
    history: History, times: int, data: st.DataObject
) -> None:
    again = data.draw(st.sampled_from(history.effects))
    at = data.draw(st.integers(history.effects.index(again), len(history.effects)))
    effects = [*history.effects]
    effects[at:at] = [again] * times
    assert counts(check(replace(history, effects=effects))) == {"duplicated": times}


@busy
@given(sound_histories(), st.data())
def test_effects_of_what_was_never_produced_or_refused_are_phantoms(
    history: History, data: st.DataObject
) -> None:
    refused = [entry.event for entry in history.entries if entry.fate is Fate.FAILED]
    strange = [Effect("never", "a", "0"), *(Effect(event.id, "a", event.key) for event in refused)]
    effects = [*history.effects, data.draw(st.sampled_from(strange))]
    found = counts(check(replace(history, effects=effects)))
    assert found.pop("phantom") == 1
    assert not found.keys() - {"results_lost"}


@busy
@given(with_effects, st.data())
def test_neighbours_the_other_way_round_are_reordered(history: History, data: st.DataObject) -> None:
    effects = [*history.effects]
    together = [n for n in range(1, len(effects)) if effects[n - 1].target == effects[n].target]
    if not together:
        return
    n = data.draw(st.sampled_from(together))
    effects[n - 1], effects[n] = effects[n], effects[n - 1]
    assert counts(check(replace(history, effects=effects))) == {"reordered": 1}


@busy
@given(with_effects)
def test_targets_do_not_wait_for_each_other(history: History) -> None:
    by_target = sorted(history.effects, key=lambda effect: effect.target, reverse=True)
    assert not check(replace(history, effects=by_target)).faults


@busy
@given(sound_histories().filter(lambda history: bool(history.results)), st.data())
def test_results_may_neither_repeat_nor_differ_nor_be_missing(history: History, data: st.DataObject) -> None:
    result = data.draw(st.sampled_from(history.results))
    others = [one for one in history.results if one != result]
    assert counts(check(replace(history, results=others))) == {"results_lost": 1}
    twice = check(replace(history, results=[*history.results, result]))
    assert counts(twice) == {"results_repeated": 1}
    other_id = [*history.results, replace(result, id="another")]
    assert counts(check(replace(history, results=other_id))) == {"results_differing": 1}


@busy
@given(sound_histories(), st.integers(11, 99))
def test_more_than_the_window_is_an_overrun(history: History, held: int) -> None:
    assert counts(check(replace(history, held=held))) == {"overrun": held - 10}


def test_an_acknowledged_record_that_the_topic_does_not_hold_is_told_apart() -> None:
    event = Event("1", "k", {"a": End.EFFECT})
    report = check(History([Entry(event, Fate.ACKED)], [], [Effect("1", "a", "k")]))
    assert counts(report) == {"unwritten": 1}


def test_records_handled_again_are_counted_per_route() -> None:
    spot = Spot(0, 0)
    handled = [Handled(spot, "a", 1), Handled(spot, "b", 1), Handled(spot, "a", 2), Handled(spot, "a", 3)]
    report = check(History([], [Logged("1", spot)], handled=handled))
    assert (report.replayed.count, report.replayed.of) == (2, 2)


def test_stalled_is_the_longest_time_with_work_and_no_completion() -> None:
    def stalled(log: Sequence[float], done: Sequence[float | None], ended: float = 0.0) -> float:
        logged = [Logged(str(n), Spot(0, n), at) for n, at in enumerate(log)]
        handled = [Handled(Spot(0, n), "a", at) for n, at in enumerate(done) if at is not None]
        return check(History([], logged, handled=handled, ended=ended)).stalled.seconds

    assert stalled([], []) == 0
    assert stalled([0, 10], [1, 12]) == 2  # between them there was nothing to do
    assert stalled([0, 1], [5, 6]) == 5
    assert stalled([0, 0], [1, 9]) == 8
    assert stalled([3], [2]) == 0  # the clocks differ
    assert stalled([0, 1], [2, None], ended=30) == 28


def test_recovery_is_the_longest_time_from_a_faults_end_to_the_next_completion() -> None:
    history = History([], [], handled=[Handled(Spot(0, n), "a", at) for n, at in enumerate([1.0, 7.0, 9.0])])
    assert recovery(history, [0.0, 2.0, 8.0]) == 5
    assert recovery(history, [9.5]) == 0
    assert recovery(history, []) == 0


@busy
@given(with_effects)
def test_a_report_is_one_line_and_one_more_for_each_figure_that_is_not_zero(history: History) -> None:
    good = str(check(history))
    assert "\n" not in good
    assert all(name.replace("_", " ") in good for name in MUST_BE_ZERO)
    bad = str(check(replace(history, effects=history.effects[1:])))
    assert bad.count("\n") == 1
    assert history.effects[0].event in bad.splitlines()[1]
