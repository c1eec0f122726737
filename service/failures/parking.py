"""The way of a command to its target: straight, or into the park that holds others before it.

`tests/park_model.py` tells which of these rules order hangs on.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

from service.dispatch.answers import Outcome, OutcomeKind
from service.dispatch.dispatcher import Dispatcher
from service.errors import Answered, GivenUpError, NotNow, TargetBusy, TargetMissing
from service.failures.parked import Parkable
from service.failures.parks import Parks, TooLargeToPark
from service.routing.commands import Command

BUSY_SECONDS = 30.0
"""How long a command waits in its lane for a target that is busy, before it is parked."""

LOOKING_SECONDS = 5.0
"""How long a workflow is looked for before it is taken for missing: visibility lags by a second or two."""

BUSY_PATIENCE = timedelta(days=1)
"""How long it may then be parked."""

REMEMBERED = 20_000
"""Of how many targets it is remembered that their parks are closed. To forget one costs a call, no more."""


class Parking:
    """Sends commands to their targets or into parks, so that none passes another of its key.

    Args:
        dispatcher: Goes straight to the target.
        parks: What holds commands that cannot.
        clock: Monotonic seconds.
        remembered: Of how many targets it is remembered that their parks are closed; REMEMBERED if not said.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        parks: Parks,
        clock: Callable[[], float] = time.monotonic,
        *,
        remembered: int | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._parks = parks
        self._clock = clock
        self._remembered = REMEMBERED if remembered is None else remembered
        self._closed: OrderedDict[tuple[object, str], None] = OrderedDict()

    def way_of(self, command: Command, assignment: object) -> "Way":
        """The way of `command`; its record came in `assignment`, one partition's for one time."""
        return Way(command, assignment, self._dispatcher, self, self._clock)

    async def is_open(self, command: Parkable, assignment: object) -> bool:
        """Whether `command` has to go behind others that are parked.

        Asked before the first command to a target in each assignment: an earlier owner of the partition may
        have parked what comes before it. From then on a closed park is opened by us alone, or by one that
        is no longer the owner, who parks what we apply; an open one is asked each time.

        Raises:
            NotNow: It has to, and cannot now; or Temporal does not answer.
        """
        key = (assignment, self._parks.id_for(command))
        if key in self._closed:
            self._closed.move_to_end(key)
            return False
        if await self._parks.is_open(command):
            return True
        self._closed[key] = None
        if len(self._closed) > self._remembered:
            self._closed.popitem(last=False)
        return False

    async def park(self, command: Parkable, assignment: object, answer: str, patience: timedelta) -> Outcome:
        """Put `command` into its park.

        Raises:
            NotNow: It may or may not be in; repeat its way from the start.
        """
        park = self._parks.id_for(command)
        # Before the call: the park may be open also when the call fails.
        self._closed.pop((assignment, park), None)
        await self._parks.put(command, answer=answer, patience=patience)
        return Outcome(
            OutcomeKind.PARKED,
            command.route,
            command.workflow_id,
            detail=answer,
            park=park,
            park_url=self._parks.link(command),
        )


class Way:
    """One command on its way; made by `Parking.way_of`."""

    def __init__(
        self,
        command: Command,
        assignment: object,
        dispatcher: Dispatcher,
        parking: Parking,
        clock: Callable[[], float],
    ) -> None:
        self._command = command
        self._assignment = assignment
        self._dispatcher = dispatcher
        self._parking = parking
        self._clock = clock
        self._began = clock()
        self._busy_since: float | None = None
        self._looking_since: float | None = None

    @property
    def command(self) -> Command:
        """The command; once its workflow was found, with the id of that."""
        return self._command

    async def go(self) -> Outcome:
        """Try once; may be repeated as often as one likes.

        Raises:
            RejectedError: It can never be accepted, or the route's rule makes a letter of it.
            GivenUpError: It is too large to be parked, and has waited for as long as it might be.
            NotNow: It may or may not have been accepted; repeat it.
        """
        command = self._command
        # A start passes its park: what is in there waits for it.
        if not isinstance(command, Parkable):
            return await self._dispatcher.dispatch(command)
        if await self._parking.is_open(command, self._assignment):
            self._dispatcher.check(command)
            patience = command.missing if isinstance(command.missing, timedelta) else BUSY_PATIENCE
            return await self._park(command, "others before it are parked", patience)
        try:
            if command.where:
                return await self._find(command)
            return await self._dispatcher.dispatch(command)
        except TargetMissing as missing:
            answer, patience = str(missing), missing.park_for
        except TargetBusy as busy:
            if not self._busy_for_long():
                raise
            answer, patience = str(busy), BUSY_PATIENCE
        return await self._park(command, answer, patience)

    async def _find(self, command: Parkable) -> Outcome:
        found = await self._dispatcher.find(command)
        if found is None:
            if not self._looked_for_long():
                raise NotNow("the workflow that it looks for is not found yet", of=Answered.NOT_THERE)
            return self._dispatcher.none_found(command)
        # From now on it is for that one, whatever its call comes to.
        self._command = found
        return await self.go()

    async def _park(self, command: Parkable, answer: str, patience: timedelta) -> Outcome:
        try:
            return await self._parking.park(command, self._assignment, answer, patience)
        except TooLargeToPark as error:
            # It waits here for no longer than it would in the park.
            if self._clock() - self._began < patience.total_seconds():
                raise
            raise GivenUpError(f"waited for {patience}, then given up: {error}") from error

    def _busy_for_long(self) -> bool:
        now = self._clock()
        if self._busy_since is None:
            self._busy_since = now
        return now - self._busy_since >= BUSY_SECONDS

    def _looked_for_long(self) -> bool:
        now = self._clock()
        if self._looking_since is None:
            self._looking_since = now
        return now - self._looking_since >= LOOKING_SECONDS
