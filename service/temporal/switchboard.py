"""The switchboard of a group from outside: what it says, and how it is told."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from service.errors import Unreachable
from service.temporal.client import no_answer
from service.temporal.worker import service_queue
from workflows.encryption import NotReadable
from workflows.switchboard import MEMO, State, Switchboard, memo_of

CALL_SECONDS = 5.0
STEP_SECONDS = 0.1


def switchboard_id(group: str) -> str:
    """The id of the group's switchboard, in the client's namespace."""
    return f"switchboard/{group}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the switchboard says.

    Attributes:
        state: What it knows, or knew when it was closed; None if there is none.
        running: Whether it is there to be told something.
        settled: Whether it has taken in all that it was told so far.
    """

    state: State | None
    running: bool
    settled: bool


class SwitchboardClient:
    """Reads and tells the switchboard of `group`; each call ends within seconds."""

    def __init__(self, client: Client, group: str) -> None:
        self._client = client
        self._id = switchboard_id(group)
        self._queue = service_queue(group)
        self._summary = f"What is paused in group {group}"

    async def read(self) -> Reading:
        """What it says now; needs no worker.

        Raises:
            Unreachable: Temporal does not answer, or what has its id is none.
        """
        handle = self._client.get_workflow_handle(self._id)
        with _answering(self._client):
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    found = await handle.describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return Reading(None, running=False, settled=True)
                raise
        try:
            state = await found.memo_value(MEMO, None, type_hint=State)
        except NotReadable as error:
            raise Unreachable(f"the memo of workflow {self._id}: {error}") from error
        except ValueError as error:
            raise Unreachable(f"the memo of workflow {self._id} is none of a switchboard") from error
        return Reading(
            state,
            running=found.status is WorkflowExecutionStatus.RUNNING,
            settled=not found.raw_description.HasField("pending_workflow_task"),
        )

    async def read_settled(self, patience_seconds: float) -> Reading:
        """What it says once it has taken in all that it was told, or when that takes too long.

        What it is told while no bridge runs is in no memo before a worker has seen it.

        Raises:
            Unreachable: See `read`.
        """
        late = time.monotonic() + patience_seconds
        while True:
            reading = await self.read()
            if reading.settled or time.monotonic() > late:
                return reading
            await asyncio.sleep(STEP_SECONDS)

    async def tell(self, signal: str, what: object, *, last: State | None) -> None:
        """Send it a signal; durable when this returns. One that is not there begins with `last`.

        Raises:
            Unreachable: Temporal does not answer; it may or may not have been told.
        """
        state = last or State()
        with _answering(self._client):
            async with asyncio.timeout(CALL_SECONDS):
                await self._client.start_workflow(
                    Switchboard.run,
                    state,
                    id=self._id,
                    task_queue=self._queue,
                    memo=memo_of(state),
                    static_summary=self._summary,
                    start_signal=signal,
                    start_signal_args=[what],
                )


@contextmanager
def _answering(client: Client) -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        raise no_answer(client, error) from error
    except TimeoutError as error:
        raise Unreachable(f"Temporal did not answer within {CALL_SECONDS:.0f} s") from error
