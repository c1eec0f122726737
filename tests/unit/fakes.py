"""Fakes that several tests share; each keeps the promises of what it stands for."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from aiokafka.protocol.commit import OffsetCommitRequest

from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.dispatcher import Dispatcher, Seeking, Target
from service.dispatch.identity import command_id
from service.errors import NotNow
from service.failures.parked import Parkable
from service.failures.parks import Parks, TooLargeToPark
from service.intake.waiting import Abandoned, Assignment
from service.kafka.record import Commit, Headers, Partition, Written
from service.routing.commands import Command
from workflows.switchboard import State, Switch


class NoTime(Assignment):
    """An assignment in which sleeping takes no time; ends after `naps` of them, if given."""

    def __init__(self, naps: int | None = None) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._naps = naps

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._naps is not None and len(self.slept) >= self._naps:
            self.end()
        if self.over:
            raise Abandoned


@dataclass(frozen=True, slots=True)
class Sent:
    """One record that a sink took."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    def header(self, name: str) -> bytes | None:
        """The last header of that name."""
        return dict(self.headers).get(name)


@dataclass(slots=True)
class FakeSink:
    """A sink that raises what it was given to raise, and then takes everything."""

    errors: deque[Exception] = field(default_factory=deque)
    sent: list[Sent] = field(default_factory=list)

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        spread: int | None = None,
    ) -> Written:
        if self.errors:
            raise self.errors.popleft()
        self.sent.append(Sent(topic, key, value, headers))
        return Written(topic, 0, len(self.sent) - 1)


class ScriptedDispatcher(Dispatcher):
    """Accepts every command, after the errors that it was given for the command's route.

    Finds the workflows of these ids, in turn; no more when there is an empty one, or none left.
    """

    def __init__(self, **errors: Iterable[Exception]) -> None:
        self.calls: list[Command] = []
        self.checked: list[Command] = []
        self.looked_for: list[Command] = []
        self.finds: deque[str | Exception] = deque()
        self._errors = {route.replace("_", "-"): deque(given) for route, given in errors.items()}
        self.before_call: Callable[[Command], None] = lambda _command: None

    async def dispatch(self, command: Command) -> Outcome:
        self.calls.append(command)
        self.before_call(command)
        if errors := self._errors.get(command.route):
            raise errors.popleft()
        return Outcome(OutcomeKind.ACCEPTED, command.route, command.workflow_id)

    async def find(self, command: Seeking) -> Seeking | None:
        self.looked_for.append(command)
        found = self.finds.popleft() if self.finds else ""
        if isinstance(found, Exception):
            raise found
        return replace(command, workflow_id=found, where=None) if found else None

    def check(self, command: Command) -> None:
        self.checked.append(command)

    def link(self, to: Target) -> str:
        return f"http://ui/{to.workflow_id}"


class FakeGroups:
    """What groups have committed, and the way to their coordinators: the part of a client that knows it.

    As Apache Kafka 4.3.1 does, a coordinator that cannot answer says so once for all, and names no topic.
    """

    def __init__(self) -> None:
        self.commits: defaultdict[str, dict[Partition, Commit]] = defaultdict(dict)
        self.asked: list[str] = []
        self.closed = False
        self.committed_by: list[tuple[int, str, int]] = []
        self.error = self.partition_error = 0
        self.before_answer: Callable[[str], Any] = lambda _group: None

    async def set_topics(self, _topics: set[str]) -> None: ...

    async def _get_conn(self, _node_id: int, **_options: Any) -> None: ...

    async def close(self) -> None:
        self.closed = True

    async def coordinator_lookup(self, _kind: int, _group: str) -> int:
        return 1

    async def send(self, _node: int, request: Any, *, group: int) -> SimpleNamespace:
        asked = request.prepare({request.API_KEY: (0, 3)})
        self.asked.append(asked.consumer_group)
        if (waiting := self.before_answer(asked.consumer_group)) is not None:
            await waiting
        is_commit = isinstance(request, OffsetCommitRequest)
        if is_commit:
            by = (asked.consumer_group_generation_id, asked.consumer_id, asked.retention_time)
            self.committed_by.append(by)
        answer = self._store if is_commit else self._tell
        topics = [] if self.error else answer(self.commits[asked.consumer_group], asked.topics)
        return SimpleNamespace(error_code=self.error, topics=topics)

    def _tell(self, commits: dict[Partition, Commit], topics: list[Any]) -> list[Any]:
        nothing = Commit(-1)
        return [
            (topic, [(n, *commits.get(Partition(topic, n), nothing), self.partition_error) for n in numbers])
            for topic, numbers in topics
        ]

    def _store(self, commits: dict[Partition, Commit], topics: list[Any]) -> list[Any]:
        for topic, entries in topics:
            commits.update({Partition(topic, n): Commit(offset, metadata) for n, offset, metadata in entries})
        return [(topic, [(n, self.partition_error) for n, *_ in entries]) for topic, entries in topics]


class FakeParks(Parks):
    """Parks by their target; each takes what is put in, once, after the errors it was given."""

    def __init__(self) -> None:
        self.held: dict[str, list[Parkable]] = {}
        self.asked: list[str] = []
        self.answers: list[tuple[str, timedelta]] = []
        self.full = False
        self.all_too_large = False
        self.errors: deque[Exception] = deque()

    def id_for(self, command: Command) -> str:
        return f"parked/g/{command.target}"

    def link(self, command: Command) -> str:
        return f"http://ui/{self.id_for(command)}"

    async def is_open(self, command: Command) -> bool:
        self.asked.append(command.target)
        if self.errors:
            raise self.errors.popleft()
        if command.target in self.held and self.full:
            raise NotNow("is full")
        return command.target in self.held

    async def put(self, command: Parkable, *, answer: str, patience: timedelta) -> None:
        if self.errors:
            raise self.errors.popleft()
        if self.all_too_large:
            raise TooLargeToPark("is too large")
        self.answers.append((answer, patience))
        held = self.held.setdefault(command.target, [])
        if command_id(command) not in map(command_id, held):
            held.append(command)

    def close(self, target: str) -> list[Parkable]:
        """It has delivered all that it held."""
        return self.held.pop(target)


def outage(times: int) -> list[Exception]:
    """What a neighbour that is away answers."""
    return [NotNow("is away") for _ in range(times)]


def paused(*names: str) -> State:
    """A switchboard that says that these are paused."""
    since = datetime(2026, 11, 24, 12, tzinfo=UTC)
    return State(paused=tuple(Switch(name=name, since=since, by="ada", because="upstream") for name in names))
