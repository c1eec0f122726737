"""The parks of a consumer group, seen from the bridge: which are open, and how commands get in.

A park is the workflow `Park` with the id `parked/<group>/<target>`, or
`parked@<namespace>/<group>/<target>` when its target is in a namespace other than turnout's own. A target
that is looked for is named by that: `where/OrderNumber=A-1`. The group is part of it because a park writes
its letters to the topic of its group. Where that would be too long, the end of it is a digest of the whole.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from activities.parked import Parked
from service.dispatch.answers import Meaning, meaning_of, said
from service.dispatch.identity import identified_as, parking_identity
from service.dispatch.links import NOWHERE, Links
from service.errors import Answered, NotNow, Throttled
from service.failures.held import held_in
from service.failures.parked import Parkable, to_parked
from service.routing.commands import Command
from service.temporal.closed import text_of
from service.temporal.worker import service_queue
from workflows.encryption import NotReadable
from workflows.markdown import as_text
from workflows.park import MEMO, Carried, Park, ParkStatus

CALL_TIMEOUT = timedelta(seconds=10)

MOST_COMMANDS = 500
MOST_BYTES = 8 << 20
"""From when on a park is full."""

LONGEST_HISTORY = 10_000
LARGEST_HISTORY_BYTES = 24 << 20
"""From when on its worker lags, or is not there: Temporal ends a run at 51,200 events and 50 MiB."""

LONGEST_ID = 255
"""Of the id of a workflow, in characters, where Temporal keeps it in SQL (`workflow_id VARCHAR(255)` in
schema/postgresql/v12/temporal/schema.sql and in MySQL's): a longer one could never be started."""

DIGEST_BYTES = 16

LARGEST_SIGNAL_BYTES = 1_900_000
"""Of the 2 MiB that Temporal takes."""

TARGET, NAMESPACE = "target", "namespace"
"""Memos set when a park begins."""


class TooLargeToPark(NotNow):
    """The command does not fit into one signal to its park: it waits in its lane."""

    of = Answered.PARK


@dataclass(frozen=True, slots=True)
class OpenPark:
    """A park that holds commands now, as people look at it.

    `answer` is the last one that its first command got, `url` its page in the Temporal UI, if configured.
    `next_try` is when that command is tried again, where that is known.
    """

    id: str
    target: str
    namespace: str
    status: ParkStatus
    answer: str
    url: str
    next_try: datetime | None = None


class Parks:
    """The parks of `group`.

    Args:
        client: Carries identified calls; its namespace is turnout's own.
        group: The consumer group.
        links: Where the Temporal UI is.
    """

    def __init__(self, client: Client, group: str, links: Links = NOWHERE) -> None:
        self._client = client
        self._group = group
        self._queue = service_queue(group)
        self._links = links

    def id_for(self, command: Command) -> str:
        """The id of the park for the target of `command`."""
        namespace = command.namespace or self._client.namespace
        prefix = "parked" if namespace == self._client.namespace else f"parked@{namespace}"
        park = f"{prefix}/{self._group}/{command.target}"
        if len(park) <= LONGEST_ID:
            return park
        digest = blake2b(park.encode(), digest_size=DIGEST_BYTES).hexdigest()
        return f"{park[: LONGEST_ID - len(digest) - 1]}~{digest}"

    def link(self, command: Command) -> str:
        """The address of that park in the Temporal UI, or nothing."""
        return self._links.workflow(self._client.namespace, self.id_for(command))

    async def is_open(self, command: Command) -> bool:
        """Whether the park for the target of `command` holds others, and takes this one too.

        Raises:
            NotNow: It is open and full, or Temporal does not answer.
        """
        park = self.id_for(command)
        with _answering(command):
            try:
                found = await self._client.get_workflow_handle(park).describe(rpc_timeout=CALL_TIMEOUT)
            except RPCError as error:
                if meaning_of(error) is Meaning.MISSING:
                    return False
                raise
        if found.status is not WorkflowExecutionStatus.RUNNING:
            return False
        if full := _fullness(found, await _status(found)):
            raise NotNow(f"{park} is full: it holds {full}", of=Answered.PARK)
        return True

    async def put(self, command: Parkable, *, answer: str, patience: timedelta) -> None:
        """Put `command` behind all that its park holds; opens the park if it is not.

        May be repeated: the park knows it by its id. `answer` is why, `patience` for how long it may stay.

        Raises:
            TooLargeToPark: It will never be in.
            NotNow: It may or may not be in; repeat it.
        """
        parked = to_parked(command, answer=answer, patience=patience)
        if parked.size_bytes > LARGEST_SIGNAL_BYTES:
            raise TooLargeToPark(f"{answer}; it is too large to be parked, with {parked.size_bytes} bytes")
        namespace = command.namespace or self._client.namespace
        with _answering(command):
            await self._client.start_workflow(
                Park.run,
                Carried(),
                id=self.id_for(command),
                task_queue=self._queue,
                start_signal="park",
                start_signal_args=[parked],
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary=as_text(f"Holds commands for {command.target}"),
                static_details=self._details(command),
                memo={TARGET: command.target, NAMESPACE: namespace},
                rpc_timeout=CALL_TIMEOUT,
            )

    async def open_ones(self) -> AsyncIterator[OpenPark]:
        """All parks that are open, as far as visibility knows, which lags by a second or so.

        Raises:
            NotNow: Temporal does not answer.
        """
        try:
            async for found in self._client.list_workflows(self._ours, rpc_timeout=CALL_TIMEOUT):
                handle = self._client.get_workflow_handle(found.id, run_id=found.run_id)
                park = await handle.describe(rpc_timeout=CALL_TIMEOUT)
                if park.status is WorkflowExecutionStatus.RUNNING:
                    yield await self._open_park(park)
        except RPCError as error:
            raise _not_now(error) from error

    async def count(self) -> int:
        """How many parks are open, as far as visibility knows.

        Raises:
            NotNow: Temporal does not answer.
        """
        try:
            return (await self._client.count_workflows(self._ours, rpc_timeout=CALL_TIMEOUT)).count
        except RPCError as error:
            raise _not_now(error) from error

    @property
    def _ours(self) -> str:
        """What finds those that are open."""
        return f"WorkflowType = 'Park' AND TaskQueue = '{self._queue}' AND ExecutionStatus = 'Running'"

    async def look(self, command: Command) -> OpenPark | None:
        """The park for the target of `command`, if it is open.

        Raises:
            NotNow: Temporal does not answer.
        """
        try:
            found = await self._client.get_workflow_handle(self.id_for(command)).describe(
                rpc_timeout=CALL_TIMEOUT
            )
        except RPCError as error:
            if meaning_of(error) is Meaning.MISSING:
                return None
            raise _not_now(error) from error
        return await self._open_park(found) if found.status is WorkflowExecutionStatus.RUNNING else None

    async def held_by(self, park: OpenPark) -> Sequence[Parked]:
        """What `park` holds, in the order in which it is delivered.

        Raises:
            NotNow: Temporal does not answer.
        """
        try:
            return await held_in(self._client, park.id, park.status.commands, CALL_TIMEOUT)
        except RPCError as error:
            raise _not_now(error) from error

    async def _open_park(self, found: WorkflowExecutionDescription) -> OpenPark:
        status = await _status(found)
        pending = found.raw_description.pending_activities
        tries = [await text_of(self._client.data_converter, one.last_failure) for one in pending]
        again = [one.next_attempt_schedule_time for one in pending if one.next_attempt_schedule_time.seconds]
        return OpenPark(
            id=found.id,
            target=await found.memo_value(TARGET, ""),
            namespace=await found.memo_value(NAMESPACE, ""),
            status=status,
            answer=next(filter(None, tries), status.answer),
            url=self._links.workflow(self._client.namespace, found.id),
            next_try=again[0].ToDatetime(UTC) if again else None,
        )

    def _details(self, command: Command) -> str:
        namespace = command.namespace or self._client.namespace
        links = {
            "target": command.workflow_id and self._links.workflow(namespace, command.workflow_id),
            "runbook": self._links.runbook(command.route),
        }
        return "\n".join(f"- [{name}]({address})" for name, address in links.items() if address)


async def _status(park: WorkflowExecutionDescription) -> ParkStatus:
    try:
        # One that has not run yet has no memo of its own.
        return await park.memo_value(MEMO, ParkStatus(), type_hint=ParkStatus)
    except NotReadable as error:
        raise NotNow(f"the memo of {park.id}: {error}") from error


def _fullness(park: WorkflowExecutionDescription, status: ParkStatus) -> str:
    """What a full park is full of; nothing if it is not full."""
    info = park.raw_description.workflow_execution_info
    if status.commands >= MOST_COMMANDS:
        return f"{status.commands} commands"
    if status.size_bytes >= MOST_BYTES:
        return f"{status.size_bytes >> 20} MiB"
    if info.history_length >= LONGEST_HISTORY or info.history_size_bytes >= LARGEST_HISTORY_BYTES:
        return f"a history of {info.history_length} events and {info.history_size_bytes >> 20} MiB"
    return ""


@contextmanager
def _answering(command: Command) -> Iterator[None]:
    """Calls in this block have the id of parking `command`; no answer to them speaks of its input."""
    try:
        with identified_as(parking_identity(command)):
            yield
    except RPCError as error:
        raise _not_now(error) from error


def _not_now(error: RPCError) -> NotNow:
    kind = Throttled if meaning_of(error) is Meaning.THROTTLED else NotNow
    return kind(f"parking: {said(error)}")
