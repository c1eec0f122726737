"""What the demo shows, scene by scene; each scene checks what it says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deploy.demo.ledger import Ledger, LoggedOutcome, Sighting
from deploy.demo.orders import order, publish
from deploy.demo.stage import LETTERS, ORDERS, RESULTS, Stage
from service.temporal.client import workflow_link

PATIENCE_SECONDS = 60.0
STORM_PATIENCE_SECONDS = 240.0
STORM_PAUSE_SECONDS = 0.1
KILLS = {0.20: "bridge", 0.45: "worker", 0.70: "Temporal"}
"""Who is killed after which part of the orders."""

PLACED = "shop.order.placed"


@dataclass(frozen=True, slots=True)
class Expected:
    """One result event about one order, and no second one."""

    order_id: str
    type: str


class Story:
    """Tells the story to `console`; `failures` holds what did not come true."""

    def __init__(
        self, stage: Stage, ledger: Ledger, producer: AIOKafkaProducer, console: Console, *, orders: int
    ) -> None:
        self._stage = stage
        self._ledger = ledger
        self._producer = producer
        self._console = console
        self._ids = [f"B-{number:04}" for number in range(1, orders + 1)]
        self._expected: list[Expected] = []
        self.failures: list[str] = []

    async def tell(self) -> None:
        """All scenes, then the tally of everything."""
        await self._all_the_way_round()
        await self._the_same_again()
        await self._four_that_go_otherwise()
        await self._killed_in_between()
        self._check_everything()

    async def _all_the_way_round(self) -> None:
        self._head("One order, all the way round")
        await self._place("A-1001")
        await self._expect(Expected("A-1001", "shop.order.fulfilled"))
        await self._ledger.until(lambda: len(self._journey("A-1001")) >= 14, 2)
        journey = self._journey("A-1001")
        for at, who, where, what in journey:
            self._console.print(
                f"  +{at - journey[0][0]:5.2f} s  [bold]{who:<9}[/]{where:<24}{escape(what)}", highlight=False
            )
        self._say(f"as Temporal shows it: {self._link('A-1001')}")

    async def _the_same_again(self) -> None:
        self._head("The same event again, as Kafka or a producer may deliver it")
        place = await self._place("A-1001")
        outcome = await self._outcome(place)
        self._say(f"{place}: {_in_words(outcome)}; still one workflow, and no second result")
        self._require(outcome is not None and outcome.kind == "duplicate", f"{place} was not a duplicate")

    async def _four_that_go_otherwise(self) -> None:
        self._head("Four that go otherwise")
        await self._place("A-1002", sku="RARE-CLOCK")
        await self._place("A-1003", card="card-declined")
        await self._place("A-1004", sku="RARE-CLOCK")
        broken = await publish(self._producer, ORDERS, PLACED, "A-1005", data=b'{"order_id": "A-1005", ')
        await self._expect(Expected("A-1003", "shop.order.rejected"))
        self._say("A-1003: the card was declined; stock released again, then shop.order.rejected")
        await self._expect(Expected("A-1004", "shop.order.backordered"))
        await self._withdraw("A-1004")
        await self._expect(Expected("A-1004", "shop.order.cancelled"))
        self._say("A-1004: withdrawn by the customer while it waited for stock: shop.order.cancelled")
        await self._a_letter(broken)
        await self._expect(Expected("A-1002", "shop.order.backordered"))
        self._say(f"A-1002: lacks stock and waits, asks again soon: {self._link('A-1002')}")
        await self._expect(Expected("A-1002", "shop.order.fulfilled"))
        self._say("A-1002: the stock has come: shop.order.fulfilled")

    async def _a_letter(self, place: str) -> None:
        def letters() -> Sequence[Sighting]:
            return [s for s in self._ledger.sightings if s.topic == LETTERS and s.order_id == "A-1005"]

        await self._ledger.until(lambda: bool(letters()), PATIENCE_SECONDS)
        self._require(len(letters()) == 1, f"{place} should be one letter, but there are {len(letters())}")
        for letter in letters():
            reason = letter.headers.get("__dlq.errors.message", "")
            self._say(f"A-1005: a broken record became a letter in {LETTERS}, byte for byte: {reason}")

    async def _killed_in_between(self) -> None:
        ids = self._ids
        kills_after = {round(part * len(ids)): victim for part, victim in KILLS.items()}
        self._head(f"{len(ids)} orders, while bridge, worker and Temporal are killed (SIGKILL) in between")
        with self._progress() as progress:
            sent = progress.add_task("sent", total=len(ids))
            fulfilled = progress.add_task("fulfilled", total=len(ids))
            async with asyncio.TaskGroup() as kills:
                for number, order_id in enumerate(ids, start=1):
                    await self._place(order_id)
                    progress.update(sent, completed=number)
                    progress.update(fulfilled, completed=len(self._fulfilled(ids)))
                    if victim := kills_after.get(number):
                        self._say(f"order {number}: {victim} killed, and started again")
                        kills.create_task(self._stage.kill_and_restart(victim))
                    await asyncio.sleep(STORM_PAUSE_SECONDS)
            await self._watch(ids, progress, fulfilled)
        self._tally(ids)

    async def _watch(self, ids: Sequence[str], progress: Progress, bar: TaskID) -> None:
        def all_there() -> bool:
            self._stage.check()
            done = len(self._fulfilled(ids))
            progress.update(bar, completed=done)
            return done == len(ids)

        await self._ledger.until(all_there, STORM_PATIENCE_SECONDS)
        # A second effect of an order would come about as late as the last first one.
        await self._ledger.until(lambda: False, 1)

    def _tally(self, ids: Sequence[str]) -> None:
        fulfilled = self._fulfilled(ids)
        twice = sum(len(self._ledger.results(RESULTS, "shop.order.fulfilled", i)) > 1 for i in ids)
        lost = len(ids) - len(fulfilled)
        self._console.print(
            f"\n  [bold]sent {len(ids)}  fulfilled {len(fulfilled)}  lost {lost}  twice {twice}[/]",
            highlight=False,
        )
        if repeats := self._ledger.repeats(RESULTS):
            self._say(
                f"({repeats} records repeat the id of another, as after a kill they may; dropped by id)"
            )
        self._require(lost == 0 and twice == 0, "not each of the orders was fulfilled exactly once")

    def _fulfilled(self, ids: Sequence[str]) -> set[str]:
        return {s.order_id for s in self._ledger.results(RESULTS, "shop.order.fulfilled")} & set(ids)

    def _check_everything(self) -> None:
        """Each expected result is there exactly once, and there are no others."""
        for one in self._expected:
            found = len(self._ledger.results(RESULTS, one.type, one.order_id))
            self._require(found == 1, f"{one.order_id}: {found} {one.type}, not 1")
        expected = len(self._expected) + len(self._ids)
        found = len({s.id for s in self._ledger.sightings if s.topic == RESULTS})
        self._require(found == expected, f"{found} different result events, not {expected}")

    async def _place(self, order_id: str, **how: str) -> str:
        return await publish(self._producer, ORDERS, PLACED, order_id, data=order(order_id, **how))

    async def _withdraw(self, order_id: str) -> None:
        data = {"order_id": order_id}
        await publish(self._producer, ORDERS, "shop.order.withdrawn", order_id, data=data)

    async def _expect(self, expected: Expected) -> None:
        self._expected.append(expected)

        def is_there() -> bool:
            self._stage.check()
            return bool(self._ledger.results(RESULTS, expected.type, expected.order_id))

        if not await self._ledger.until(is_there, PATIENCE_SECONDS):
            self._require(False, f"no {expected.type} for {expected.order_id} in {PATIENCE_SECONDS:.0f} s")

    async def _outcome(self, place: str) -> LoggedOutcome | None:
        await self._ledger.until(lambda: self._ledger.outcome(place) is not None, PATIENCE_SECONDS)
        return self._ledger.outcome(place)

    def _journey(self, order_id: str) -> list[tuple[float, str, str, str]]:
        """Everything that was seen of one order: when, who, where, what; in order of time."""
        places = {s.place: s for s in self._ledger.sightings if s.order_id == order_id}
        rows = [(s.at, _WHO.get(s.topic, "?"), s.place, s.type) for s in places.values()]
        rows += [
            (o.at, "turnout", f"route {o.route}", _in_words(o))
            for o in self._ledger.outcomes
            if o.place in places
        ]
        return sorted(rows)

    def _progress(self) -> Progress:
        columns = (
            TextColumn("  {task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        quiet = not self._console.is_terminal
        return Progress(*columns, console=self._console, transient=True, disable=quiet)

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.failures.append(otherwise)
            self._console.print(f"  [red]{escape(otherwise)}[/]", highlight=False)

    def _head(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]{text}[/]")

    def _say(self, text: str) -> None:
        self._console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)

    def _link(self, order_id: str) -> str:
        return workflow_link(self._stage.servers.temporal.ui_url, "default", f"order/{order_id}")


_WHO = {
    ORDERS: "you",
    RESULTS: "workflow",
    "shop.requests": "workflow",
    "stock.events": "stock",
    "payments.events": "payment",
    "shipping.events": "shipping",
    LETTERS: "turnout",
}


def _in_words(outcome: LoggedOutcome | None) -> str:
    if outcome is None:
        return "no outcome"
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return f"{outcome.kind}: workflow {outcome.workflow_id}{detail}"
