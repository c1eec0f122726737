"""What Kafka and Temporal say of one record: facts, gathered elsewhere and judged elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.dispatch.explaining import Verdict
from service.events.event import Event
from service.kafka.given_up import GiveUp
from service.kafka.members import Member, Members
from service.kafka.outside import Extent
from service.kafka.record import Commit, Partition, Record
from service.redrive.letterbox import Place
from service.temporal.chronicle import Published
from workflows.switchboard import Switch


class Form(StrEnum):
    """What an argument names."""

    EVENT = "event"
    RECORD = "record"
    WORKFLOW = "workflow"


@dataclass(frozen=True, slots=True)
class Unasked:
    """What could not be asked, and why not."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Search:
    """What topics were looked through for an event id.

    `offsets` are those of each partition that were read, from `since` on; `complete` tells whether all of
    that time was, or time was up before.
    """

    since: datetime
    offsets: Mapping[Partition, range]
    complete: bool


@dataclass(frozen=True, slots=True)
class InLog:
    """What lies at an offset: `record` also where those who read what is committed do not get it.

    `hidden`: its transaction was aborted. `unreadable`: the client cannot read it, by the name of a header.
    """

    held: Extent
    record: Record | None = None
    hidden: bool = False
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class InGroup:
    """How far a group is with a partition, seen from one of its records.

    Attributes:
        group: Which.
        commit: What it has committed; None: nothing yet.
        finished: What it has finished beyond the commit point.
        members: Who is in it; None: that is not known.
        first: The first record that it has not finished, at most the one asked for.
        first_unreadable: Whether the client cannot read that one.
        before: An earlier record of the same lane that is not finished.
        given_up: What a person said of the record.
    """

    group: str
    commit: Commit | None = None
    finished: frozenset[int] = frozenset()
    members: Members | None = None
    first: Record | None = None
    first_unreadable: bool = False
    before: Place | None = None
    given_up: GiveUp | None = None

    def has_finished(self, offset: int) -> bool:
        """Whether it is done with the record at `offset`."""
        return bool(self.commit) and (offset < self.commit.offset or offset in self.finished)  # type: ignore[union-attr]

    def waiting_before(self, offset: int) -> int:
        """How many offsets before `offset` it has not finished."""
        start = self.commit.offset if self.commit else 0
        return max(offset - start - sum(one < offset for one in self.finished), 0)

    def holder(self, partition: Partition) -> Member | None:
        """Who has the partition now."""
        members = self.members.of if self.members else ()
        return next((one for one in members if partition in one.partitions), None)


@dataclass(frozen=True, slots=True)
class LetterFact:
    """A letter: where it lies, where the record does that it is about, and whether it is open still."""

    place: Place
    about: Place
    route: str
    stage: str
    reason: str
    failed_at: datetime
    open: bool


@dataclass(frozen=True, slots=True)
class ParkFact:
    """The open park of a command's target: `position` counts from 1, of `commands`; 0: it is not in there."""

    id: str
    target: str
    position: int
    commands: int
    answer: str = ""
    next_try: datetime | None = None
    gives_up_at: datetime | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """An activity that a workflow waits for."""

    type: str
    id: str = ""
    attempt: int = 1
    failure: str = ""
    next_try: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the history of a workflow says of a signal: how often this event's is in it.

    `carried`: the inbox of its first run that was looked at knew the event already. `taken`: a task
    of the workflow was completed after the first. `whole`: all of the history was looked through.
    """

    times: int = 0
    carried: bool = False
    taken: bool = False
    at: datetime | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The workflow that a command is for, as Temporal has it.

    Attributes:
        id: Its id; empty where it has to be looked for and none, or several, were found: see `note`.
        status: As in `service.temporal.closed.STATUS`, or `running`; empty: there is none.
        memo: What led to its start, as ours says.
        told: Of a signal; None: that was not looked at.
        pollers: How many workers poll its task queue; None: not known.
        handlers: The signals that its worker knows, `""` for any; None: not known.
        handlers_hidden: Why its worker's answer to that cannot be read, if there is one.
        task_waits: It has a task that waits for a worker, and for the how-manieth time.
        published: Its results.
        callbacks: For each, its state and what failed last.
    """

    id: str
    status: str = ""
    workflow: str = ""
    task_queue: str = ""
    started_at: datetime | None = None
    closed_at: datetime | None = None
    memo: Mapping[str, Any] = field(default_factory=dict)
    told: Told | None = None
    cancel_requested: bool = False
    pollers: int | None = None
    handlers: Sequence[str] | None = None
    handlers_hidden: str = ""
    task_waits: int = 0
    pending: Sequence[Pending] = ()
    published: Sequence[Published] = ()
    callbacks: Sequence[tuple[str, str]] = ()
    url: str = ""
    note: str = ""

    @property
    def is_there(self) -> bool:
        """Whether there is such a workflow."""
        return bool(self.status)


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """One route's part of the record; `target` is None where Temporal was not asked, or need not be."""

    verdict: Verdict
    letters: Sequence[LetterFact] = ()
    park: ParkFact | None = None
    target: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was found out about one record, event or workflow; None: that was not asked, or not answered.

    Attributes:
        asked: What was asked for.
        form: What that was taken for.
        now: When.
        found_by: How the record was found, in words.
        place: Where the record lies.
        search: What was looked through for it.
        earlier: Other records of the same event, that came before.
        declared: By which declared name its topic is read, which may be a pattern.
        paused: What is paused; `paused_settled` False: the switchboard was told more since.
        event: What its bytes mean; with `undecodable` or `tombstone`, nothing.
        unread: No route reads its topic.
        unmatched: The rule of its topic, if no route takes its type.
        letters: Letters about it that are of none of `routes`.
        started: The id of a workflow that the event is known to have started.
        workflow: The workflow that was asked for, or that is known where the record cannot be read.
    """

    asked: str
    form: Form
    now: datetime
    found_by: str = ""
    place: Place | None = None
    search: Search | None = None
    earlier: Sequence[Place] = ()
    log: InLog | None = None
    group: InGroup | None = None
    declared: str = ""
    paused: Sequence[Switch] = ()
    paused_settled: bool = True
    event: Event | None = None
    undecodable: str = ""
    tombstone: bool = False
    unread: bool = False
    unmatched: str = ""
    routes: Sequence[RouteFacts] = ()
    letters: Sequence[LetterFact] = ()
    started: str = ""
    workflow: Target | None = None
    unasked: Sequence[Unasked] = ()
