"""The park: holds commands for one target that cannot take them yet, and delivers them in order.

There is one for each target, in turnout's own namespace, run by the bridge's own small worker. It begins
with its first command and ends when it holds none.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel, ConfigDict

    from activities.heartbeats import HEARTBEAT_TIMEOUT
    from activities.parked import Parked
    from activities.parking import Delivery, ParkingActivities
    from activities.policies import EVERY_SECOND, WITHOUT_LIMIT
    from activities.ports import ParkedLetter, Refused
    from workflows.markdown import as_code, as_text

REMEMBERED = 1_000
"""How many ids of commands that it no longer holds a park knows, to drop them when they come again."""

ONE_INPUT_BYTES = 900 << 10
"""With how much a park may begin a new run: all of it is one input, and one of 2 MiB fails the run."""

MEMO = "park"
"""The memo that tells how full it is: a describe reads it, without a worker."""


class Held(BaseModel):
    """A command, and since when the park holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    parked: Parked
    since: datetime


class Carried(BaseModel):
    """What a run of a park takes over from the one before: nothing, in the first."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    held: tuple[Held, ...] = ()
    done: tuple[str, ...] = ()


class ParkStatus(BaseModel):
    """How full a park is, and what its first command waits for; times in UTC.

    `answer` is why that command was parked; the answer to its last try is with the pending activity.
    From `gives_up_at` on it becomes a letter if the answer is still the same.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    commands: int = 0
    size_bytes: int = 0
    since: datetime | None = None
    gives_up_at: datetime | None = None
    answer: str = ""


@workflow.defn
class Park:
    """Holds commands in the order they came; delivers each, or makes letters of it.

    Cancelling it makes letters of all that it holds.
    """

    @workflow.init
    def __init__(self, carried: Carried) -> None:
        self._held = deque(carried.held)
        self._done = dict.fromkeys(carried.done)
        self._news = True
        self._cancelled = False

    @workflow.run
    async def run(self, carried: Carried) -> None:  # noqa: ARG002 - `__init__` took it
        """Deliver what it holds, one after the other, until it holds nothing."""
        while self._held:
            settling = asyncio.create_task(self._settle(self._held[0]))
            while not settling.done():
                self._tell()
                try:
                    await workflow.wait_condition(lambda: settling.done() or self._news)  # noqa: B023
                except asyncio.CancelledError:
                    self._cancelled = True
            settling.result()
            self._let_go()
        # No await between the check above and here. Temporal does not let a workflow end while a signal
        # waits for it: the end is tried again, and then finds the command of that signal held.
        if self._cancelled:
            raise asyncio.CancelledError

    # Never async: what such a handler has not done when the workflow ends is lost with its command
    # (41 of 400 in an experiment). And of no other type: a worker drops a signal that does not fit its
    # handler's, while an error in here is tried again, perhaps by the release that can read it.
    @workflow.signal(description="Holds one more command, unless it is a repeat")
    def park(self, raw: RawValue) -> None:
        """Hold one more command, unless it is a repeat."""
        parked = workflow.payload_converter().from_payload(raw.payload, Parked)
        if parked.id not in self._done and all(parked.id != held.parked.id for held in self._held):
            self._held.append(Held(parked=parked, since=workflow.now()))
            self._news = True

    @workflow.query(description="How full it is, and what its first command waits for")
    def status(self) -> ParkStatus:
        """How full it is, and what its first command waits for."""
        if not self._held:
            return ParkStatus()
        first = self._held[0]
        return ParkStatus(
            commands=len(self._held),
            size_bytes=sum(held.parked.size_bytes for held in self._held),
            since=first.since,
            gives_up_at=first.since + first.parked.patience,
            answer=first.parked.answer,
        )

    def _tell(self) -> None:
        """Say how things are where people and the bridge look: in the details and the memo."""
        if self._news:
            self._news = False
            status = self.status()
            workflow.upsert_memo({MEMO: status})
            workflow.set_current_details(_details(status, self._held[0].parked))

    async def _settle(self, held: Held) -> None:
        refused = _by_hand(held) if self._cancelled else await self._deliver(held)
        if refused:
            await self._write_letters(held.parked, refused)

    async def _deliver(self, held: Held) -> list[Refused]:
        """Deliver it, however long it takes; returns what of it is given up on."""
        delivery = workflow.start_activity(
            "deliver",
            Delivery(command=held.parked.command, since=held.since),
            result_type=RawValue,
            summary=as_text(f"{held.parked.command.title} → {held.parked.command.target}"),
            retry_policy=EVERY_SECOND,
            start_to_close_timeout=timedelta(seconds=30),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        # What was delivered while someone cancelled is known as delivered: an answer that is there is
        # looked at first, since to cancel its handle then would throw it away; one on its way is waited for.
        await workflow.wait_condition(lambda: delivery.done() or self._cancelled)
        if not delivery.done():
            delivery.cancel()
        try:
            return _refused(await delivery)
        except ValueError:
            # Someone completed it by hand, with whatever. A letter is right whether it was delivered or not:
            # sent again it has the same id.
            return _given_up(held, "ended by hand with a result that is none")
        except ActivityError as error:
            # Nothing else ends its tries than a person: by cancelling the park, or the activity itself.
            return _by_hand(held) if self._cancelled else _given_up(held, f"ended by hand: {error.cause}")

    async def _write_letters(self, parked: Parked, refused: Sequence[Refused]) -> None:
        command = parked.command
        letters = [
            ParkedLetter(
                record=parked.records[one.event],
                route=command.route,
                workflow_id=command.workflow_id,
                error=one.error,
                reason=one.reason,
                event_type=command.events[one.event].type,
                namespace=command.namespace,
                rule=one.rule,
            )
            for one in refused
        ]
        while True:
            try:
                return await workflow.execute_activity_method(
                    ParkingActivities.write_letters,
                    letters,
                    summary=as_text(f"letters: {command.title} → {command.target}"),
                    retry_policy=WITHOUT_LIMIT,
                    start_to_close_timeout=timedelta(minutes=2),
                    heartbeat_timeout=HEARTBEAT_TIMEOUT,
                )
            except ActivityError:
                # Someone ended it by hand. To let that end the park would lose all that it holds.
                await workflow.sleep(timedelta(seconds=10))

    def _let_go(self) -> None:
        """Forget the first command but for its id; begin a new run where the history is long."""
        self._done[self._held.popleft().parked.id] = None
        if len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]
        self._news = True
        # A new run would not know that this one was cancelled.
        if workflow.info().is_continue_as_new_suggested() and self._held and not self._cancelled:
            carried = Carried(held=tuple(self._held), done=tuple(self._done))
            if sum(held.parked.size_bytes for held in self._held) < ONE_INPUT_BYTES:
                workflow.continue_as_new(carried)


def _refused(answer: RawValue) -> list[Refused]:
    """What a delivery answered; read here, since one that cannot be read would fail the park's task for ever.

    Raises:
        ValueError: No delivery answers so.
    """
    refused = workflow.payload_converter().from_payload(answer.payload, list[Refused])
    if not isinstance(refused, list):
        raise ValueError("no list")  # noqa: TRY004 - as for any other that cannot be read
    return refused


def _by_hand(held: Held) -> list[Refused]:
    return _given_up(held, "someone cancelled its park")


def _given_up(held: Held, why: str) -> list[Refused]:
    waited = timedelta(seconds=round((workflow.now() - held.since).total_seconds()))
    reason = f"parked for {waited}, then {why}; {held.parked.answer}"
    events = range(len(held.parked.records))
    return [Refused(event=n, error="GivenUpError", reason=reason) for n in events]


def _details(status: ParkStatus, first: Parked) -> str:
    event = first.command.events[0]
    assert status.since
    assert status.gives_up_at
    target, route, event_id = map(as_code, (first.command.target, first.command.route, event.id))
    return "\n".join(
        [
            f"Holds **{status.commands}** for workflow {target}, delivered in order.",
            "",
            f"- **next**: {as_text(first.command.title)}, route {route}, event {event_id}",
            f"- **since**: {status.since:%Y-%m-%d %H:%M:%S} UTC",
            f"- **parked because**: {as_text(first.answer)}",
            "- **next try**: within about a second; its last answer is with the pending activity",
            f"- **gives up at**: {status.gives_up_at:%Y-%m-%d %H:%M:%S} UTC, then it becomes a letter",
            "- **cancel** this workflow to make letters of all it holds; to terminate it would lose them",
        ]
    )
