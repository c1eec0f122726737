"""Facts become a journey: pure, so that each way in which an event does nothing can be tried."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from service.journeys.facts import Facts, Form, InGroup, InLog, Search
from service.journeys.journey import Cause, Journey, Mark, Step
from service.journeys.outcomes import letter_step, newest, of_route, paused_step
from service.journeys.progress import OPEN_TOO_LONG
from service.journeys.saying import at, count, span, written_at
from service.journeys.workings import workings
from service.kafka.given_up import how_to_give_up
from service.kafka.record import NO_PARTITION, Partition, Record
from service.redrive.letterbox import Place
from service.routing.commands import Rule

_FORMS = {
    Form.EVENT: "the id of an event",
    Form.RECORD: "the place of a record",
    Form.WORKFLOW: "the id of a workflow",
}


def journey_of(facts: Facts) -> Journey:
    """The way of what was asked for, as far as `facts` tell."""
    return Journey(
        asked=facts.asked,
        taken_for=_FORMS[facts.form],
        record=str(facts.place or ""),
        now=facts.now,
        steps=list(_steps(facts)),
        search=facts.search,
        unasked=facts.unasked,
    )


def _steps(facts: Facts) -> Iterator[Step]:
    if facts.place is None:
        yield from _without_record(facts)
        return
    log, group = facts.log, facts.group
    if not facts.place.is_in_kafka:
        yield from _in_no_topic(facts)
        return
    if log is None:
        by = f", by {facts.found_by}" if facts.found_by else ""
        yield Step(Mark.UNKNOWN, f"its record is {facts.place}{by}; what Kafka says of it is not known")
    if log:
        yield _in_log(log, facts.place, facts)
        if ends_there(log, facts.place.offset, known=bool(facts.found_by)):
            return
    if facts.unread:
        text = f"no route reads topic {facts.place.partition.topic}"
        yield Step(Mark.NOTHING, text, Cause.NO_ROUTE, "if one is to: add the topic, and a route")
        return
    if group:
        yield from _Standing(group, log, facts.place, facts).steps()
    finished = group is not None and group.has_finished(facts.place.offset)
    yield from _as_event(facts, finished=finished)
    for part in facts.routes:
        yield from of_route(part, facts, finished=finished)
    if facts.workflow and not facts.routes:
        yield from workings(facts.workflow)


def _without_record(facts: Facts) -> Iterator[Step]:
    for letter in facts.letters:
        yield letter_step(letter)
    if facts.workflow and facts.workflow.is_there:
        if f"[{NO_PARTITION}]@" in str(facts.workflow.memo.get("record", "")):
            text = f"{facts.workflow.id} was started through the handler API, by no record"
            yield Step(Mark.DONE, text)
        else:
            text = f"no record of ours is known to have led to {facts.workflow.id}"
            yield Step(Mark.NOTHING, text)
        yield from workings(facts.workflow)
        return
    search, place = facts.search, Place.meant_by(facts.asked)
    if place and facts.form is not Form.RECORD:
        text = f"nor is it the place of a record: there is no topic {place.partition.topic}"
        yield Step(Mark.WRONG, text, Cause.NOT_IN_KAFKA, "is TURNOUT_KAFKA__BOOTSTRAP_SERVERS the right one?")
    yield Step(
        Mark.WRONG,
        f"no record of event {facts.asked} was found{_where(search)}, and no workflow has that id",
        Cause.NOT_IN_KAFKA,
        "look further back: --since 2d; see that its producer got an acknowledgement, for which topic and "
        "which id; where you know its place: turnout where TOPIC/PARTITION/OFFSET",
    )


def _in_no_topic(facts: Facts) -> Iterator[Step]:
    by = f" (found by {facts.found_by})" if facts.found_by else ""
    text = (
        f"it came through the handler API, and lies in no topic{by}; the answer to the call says what became"
    )
    yield Step(Mark.UNKNOWN, f"{text} of it")
    for letter in facts.letters:
        yield letter_step(letter)


def _where(search: Search | None) -> str:
    if search is None:
        return ""
    if not search.offsets:
        return ": the routes read no topic that there is"
    topics = ", ".join(sorted({partition.topic for partition in search.offsets}))
    part = "all" if search.complete else "a part"
    return f" in {part} of what was written to {topics} since {at(search.since)}"


# --- in Kafka ---


def ends_there(log: InLog, offset: int, *, known: bool) -> bool:
    """Whether no one can have read what lies at `offset`, and nobody will.

    `known`: someone tells of a record there, so one beyond the end was lost with a topic that was made anew.
    """
    in_range = log.held.first <= offset < log.held.end
    is_gone = offset < log.held.first or (known and offset >= log.held.end)
    return not is_gone and (not in_range or log.hidden or (log.record is None and offset < log.held.stable))


def _in_log(log: InLog, place: Place, facts: Facts) -> Step:
    held, offset, record = log.held, place.offset, log.record
    if offset >= held.end and facts.found_by:
        by = f"{facts.found_by} tells of it"
        text = f"{place} is no longer in the topic, which was made anew: {held}; {by}"
        return Step(Mark.UNKNOWN, text, next=_of_expired(place, facts))
    if offset >= held.end:
        return Step(
            Mark.WRONG,
            f"nothing is written at {place} yet: {held}",
            Cause.NOT_IN_KAFKA,
            "see that its producer got an acknowledgement, and for which place",
        )
    if offset < held.first:
        return Step(
            Mark.UNKNOWN, f"{place} is no longer in the topic: {held}", next=_of_expired(place, facts)
        )
    if log.hidden:
        return Step(
            Mark.WRONG,
            f"{place} is of a transaction that was aborted: who reads what is committed never gets it",
            Cause.ABORTED,
            "that is its producer's own word; see there why, and whether it was sent again",
        )
    if record is None:
        return Step(
            Mark.WRONG,
            f"there is no record at {place}: it marks a transaction, or was compacted away",
            Cause.NOT_IN_KAFKA,
            "the record of an event has another offset: turnout where EVENT-ID",
        )
    written = written_at(record.timestamp_ms)
    found = f" (found by {facts.found_by})" if facts.found_by else ""
    text = f"in Kafka: {place}, written {at(written)}, {span(facts.now - written)} ago{found}"
    return Step(Mark.DONE, text)


def _of_expired(place: Place, facts: Facts) -> str:
    if facts.group and not facts.group.has_finished(place.offset):
        return ""  # the next step says it
    return "what became of it: ask by the id of its event, or of its workflow"


# --- in the group ---


@dataclass(frozen=True, slots=True)
class _Standing:
    """How far the group is, as seen from the record at `place`."""

    group: InGroup
    log: InLog | None
    place: Place
    facts: Facts

    @property
    def _partition(self) -> Partition:
        return self.place.partition

    def steps(self) -> Iterator[Step]:
        """Whether it was read, and what holds it."""
        group, offset = self.group, self.place.offset
        if group.has_finished(offset):
            yield Step(Mark.DONE, f"group {group.group} is done with it")
            return
        if group.given_up:
            said = group.given_up
            text = f"{said.by} gave up on it: {said.because}; it will become a letter"
            yield Step(Mark.WAITS, text, Cause.LETTER)
        holds = list(self._holds())
        yield from holds
        yield self._unfinished(said=bool(holds))

    def _holds(self) -> Iterator[Step]:
        """What keeps the whole partition from being read, or the topic."""
        yield from self._stalled()
        if self.group.members and not self.group.members.settled:
            text = "a rebalance is under way: partitions are being shared out"
            yield Step(Mark.WAITS, text, Cause.STALLED, "look again in a minute")
        elif self.group.members and self.group.holder(self._partition) is None:
            yield self._nobody()
        names = {self._partition.topic, self.facts.declared}
        yield from (paused_step(one, "topic") for one in self.facts.paused if one.name in names)
        if not self.facts.paused_settled:
            text = "the switchboard was told something that no bridge has taken in yet"
            yield Step(Mark.UNKNOWN, text, Cause.PAUSED, "start a bridge")

    def _stalled(self) -> Iterator[Step]:
        group, log, partition = self.group, self.log, self._partition
        name = f"{partition.topic}/{partition.number}"
        if log and group.commit and group.commit.offset not in log.held:
            yield Step(
                Mark.WRONG,
                f"{partition} is stopped: its group goes on at offset {group.commit.offset}, which is not in "
                f"the topic ({log.held})",
                Cause.STALLED,
                f"say where it goes on: turnout seek {name} --to earliest, or latest, or an offset",
            )
        if log and self.place.offset >= log.held.stable:
            age = self.facts.now - written_at(log.record.timestamp_ms) if log.record else OPEN_TOO_LONG
            yield Step(
                Mark.WRONG if age >= OPEN_TOO_LONG else Mark.WAITS,
                f"a transaction that is still open holds {partition} from offset {log.held.stable} on",
                Cause.STALLED,
                "look at its producer; where that has died: kafka-transactions.sh find-hanging, then abort",
            )
        if group.first and group.first_unreadable:
            first = group.first
            yield Step(
                Mark.WRONG,
                f"{partition} is stopped at offset {first.offset}: the client cannot read that record",
                Cause.STALLED,
                f"give up on it: {how_to_give_up(first.topic, first.partition, first.offset)}",
            )

    def _nobody(self) -> Step:
        group = self.group
        if not group.members or not group.members.of:
            text = f"no process of group {group.group} runs, so nobody reads {self._partition}"
            return Step(Mark.WRONG, text, Cause.STALLED, "start a bridge: turnout run")
        others = count(len(group.members.of), "member")
        text = f"no member of group {group.group} has {self._partition}, of {others}"
        cure = "see whether the routes of those read that topic: turnout status"
        if group.commit is None and self.facts.declared not in {"", self._partition.topic}:
            cure = f"a new topic of {self.facts.declared} is found within 15 s; after that, {cure}"
        return Step(Mark.WRONG, text, Cause.STALLED, cure)

    def _unfinished(self, *, said: bool) -> Step:
        """How far it is itself; `said`: what to do about all of its partition was told before."""
        group, offset = self.group, self.place.offset
        if group.commit is None:
            text = f"group {group.group} has not begun with {self._partition}"
            cure = "" if said else "look again in a few seconds; is TURNOUT_GROUP the group that you mean?"
            return Step(Mark.WAITS, text, Cause.NOT_READ, cure)
        waiting = group.waiting_before(offset)
        if group.before:
            text = f"it waits in its lane: an earlier record of its key is not finished, {group.before}"
            return Step(Mark.WAITS, text, Cause.IN_LANE, f"see that one: turnout where {group.before}")
        if any(one > offset for one in group.finished):
            ahead = sum(one > offset for one in group.finished)
            text = f"it was read and is not finished, while {count(ahead, 'record')} behind it {_is(ahead)}"
            return Step(Mark.WAITS, text, Cause.IN_LANE, self._give_up(said=said))
        if waiting == 0:
            text = f"it is the next of {self._partition}: not read yet, or being handled"
            return Step(Mark.WAITS, text, Cause.NOT_READ, self._give_up(said=said))
        before = f"{count(waiting, 'record')} before it {_is(waiting)} unfinished"
        text = f"not read yet, or just being handled: {before}{_behind(group.first, self.log, self.facts)}"
        return Step(Mark.WAITS, text, Cause.NOT_READ)

    def _give_up(self, *, said: bool) -> str:
        if said:
            return ""
        place = how_to_give_up(self._partition.topic, self._partition.number, self.place.offset)
        return f"where it stays so, the bridge's log names the answer it waits for; to give up on it: {place}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _behind(first: Record | None, log: InLog | None, facts: Facts) -> str:
    if first is None:
        return ""
    oldest = written_at(first.timestamp_ms)
    text = f", the oldest {span(facts.now - oldest)} old"
    if log and log.record:
        apart = written_at(log.record.timestamp_ms) - oldest
        if apart > timedelta():
            text += f" and written {span(apart)} before it"
    return text


# --- as an event ---


def _as_event(facts: Facts, *, finished: bool) -> Iterator[Step]:
    letter = newest(facts.letters)
    if letter:
        yield letter_step(letter)
    if facts.undecodable and not letter:
        text = "it is no event" if finished else "it is no event, and will become a letter"
        mark = Mark.UNKNOWN if finished else Mark.WAITS
        yield Step(mark, f"{text}: {facts.undecodable}", Cause.LETTER if not finished else None)
    elif facts.tombstone:
        text = "a null value, which its topic says to skip: tombstones: skip"
        yield Step(Mark.NOTHING, text, Cause.NO_ROUTE)
    elif event := facts.event:
        yield Step(Mark.DONE, f"event {event.id} of type {event.type} from {event.source}")
        if facts.unmatched:
            yield from _unmatched(facts, has_letter=letter is not None, finished=finished)


def _unmatched(facts: Facts, *, has_letter: bool, finished: bool) -> Iterator[Step]:
    kind = facts.event.type if facts.event else ""
    topic = facts.place.partition.topic if facts.place else ""
    text = f"no route of topic {topic} takes type {kind}"
    cure = "is the type spelled as in the routes? turnout routes lint; add a route, or `type:` to one"
    if facts.unmatched == Rule.SKIP:
        yield Step(Mark.NOTHING, f"{text}, and its topic says unmatched: skip", Cause.NO_ROUTE, cure)
    elif not has_letter:
        becomes = "there is no letter of it any more" if finished else "it will become a letter"
        yield Step(
            Mark.UNKNOWN if finished else Mark.WAITS,
            f"{text}, and its topic says unmatched: {facts.unmatched}; {becomes}",
            Cause.NO_ROUTE,
            cure,
        )
    else:
        yield Step(Mark.NOTHING, text, Cause.NO_ROUTE, cure)
