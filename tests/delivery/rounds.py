"""One round: all as processes, load and faults by a seed, then peace and the verdict."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError

from service.local import HOST, Child, LocalServer, LocalTemporal
from tests.delivery.checker import Report, check, recovery
from tests.delivery.faults import (
    BRIDGES,
    GUEST,
    OF_BRIDGES,
    OF_NEIGHBOURS,
    SESSION_SECONDS,
    STATIC,
    Fault,
    make_faults,
)
from tests.delivery.group import caught_up, group, log_lines, observe, process, settled
from tests.delivery.ledger import Ledger, ledger, make_plan
from tests.delivery.wire import Wire, wire
from tests.integration.proxy import Mode
from tests.integration.service import DEFECTS, Place, Site
from tests.servers import ApacheKafka, random_port, two_doors

PEACE_SECONDS = 120
"""How long after the last fault all must be done."""

SETTLE_SECONDS = 90
"""How long what is parked may take after that: a park learns after 30 s of a delivery that died with its
bridge, after 15 s of letters that did."""

STOP_SECONDS = 15
MOST_ENDED = 30
"""So often processes may end by themselves in a round: more is no crash, they cannot start."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much, and for how long; `limit` is after how many notes a recorder begins a new run.

    `kinds_left` is as for `make_plan`.
    """

    seconds: float
    keys: int = 8
    per_key: int = 80
    limit: int = 20
    kinds_left: Sequence[str] = ("stranded",)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a round came to."""

    seed: int
    report: Report
    faults: Sequence[str]
    ended_by_themselves: Sequence[str]
    defects: Sequence[str]
    caught_up: bool
    recovery_seconds: float
    seconds: float
    stalled_at_seconds: float
    """When in the round the longest stall began."""
    swallowed_bytes: Mapping[str, int]

    @property
    def held(self) -> bool:
        """Whether the promise held."""
        return self.caught_up and not self.report.faults and not self.defects

    def __str__(self) -> str:
        kinds = Counter(fault.rsplit(" ", 2)[0] for fault in self.faults)
        swallowed = ", ".join(f"{who} {n}" for who, n in self.swallowed_bytes.items())
        lines = [
            f"seed {self.seed}: {'held' if self.held else 'BROKEN'} after {self.seconds:.0f} s",
            f"  faults {len(self.faults)}: {', '.join(f'{kind} x{n}' for kind, n in sorted(kinds.items()))}",
            f"  {self.report}",
            f"  stalled from {self.stalled_at_seconds:.0f} s on  recovery {self.recovery_seconds:.1f} s",
            f"  swallowed bytes of {swallowed}",
        ]
        if not self.caught_up:
            lines.append(f"  NOT CAUGHT UP {PEACE_SECONDS} s after the last fault")
        if self.ended_by_themselves:
            lines.append(f"  ended by themselves: {', '.join(self.ended_by_themselves)}")
        lines += [f"  defect: {defect}" for defect in self.defects]
        return "\n".join(lines)


@dataclass
class Stage:
    """All that runs, and what can be done to it."""

    broker: ApacheKafka
    temporal: LocalTemporal
    before_broker: Wire
    before_temporal: Wire
    here: Site
    told: Ledger
    children: dict[str, Child]
    chance: random.Random
    say: Callable[[str], None]
    deadline: float
    """No further fault after it (monotonic seconds): a machine that is busy must not suffer for ever."""
    wanted: set[str] = field(default_factory=set)
    """Who should run now."""
    ended: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    """When each fault of `done` was over, in the seconds that logs tell."""

    async def keep(self) -> None:
        """Start again whoever ended by itself, as an orchestrator would."""
        while True:
            for name in sorted(self.wanted):
                child = self.children[name]
                if not child.alive:
                    self.ended.append(f"{name} ({child.returncode})")
                    self.say(f"{name} ended by itself: {child.tail(3)}")
                    child.start()
            assert len(self.ended) <= MOST_ENDED, self.ended
            await asyncio.sleep(0.5)

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """Let `faults` happen, one after the other."""
        for fault in faults:
            if time.monotonic() > self.deadline:
                return
            await asyncio.sleep(fault.gap)
            self.say(str(fault))
            await self._happen(fault)
            self.done.append(str(fault))
            self.ends.append(time.time())

    async def _happen(self, fault: Fault) -> None:
        match fault.kind, fault.target:
            case "rewind", _:
                await self._rewind(fault.seconds)
            case "visit", guest:
                self._start(guest)
                await asyncio.sleep(fault.seconds)
                await self._stop(guest)
            case "swallow", target:
                proxy = self._wire(target)
                proxy.swallow()
                await asyncio.sleep(fault.seconds)
                proxy.stop_swallowing()
            case (("answer 404" | "answer 502"), target):
                mode = Mode.NOT_FOUND if fault.kind == "answer 404" else Mode.BAD_GATEWAY
                self._wire(target).become(mode)
                await asyncio.sleep(fault.seconds)
                self._wire(target).become(Mode.FORWARD)
            case kind, ("kafka" | "temporal") as target:
                await self._strike_server(self._server(target), kind, fault.seconds)
            case kind, name:
                await self._strike_child(name, kind, fault.seconds)

    def _wire(self, target: str) -> Wire:
        return self.before_broker if target == "kafka" else self.before_temporal

    def _server(self, target: str) -> LocalServer:
        return self.broker if target == "kafka" else self.temporal

    async def _strike_server(self, server: LocalServer, kind: str, seconds: float) -> None:
        if kind == "freeze":
            return await _freeze(server.child, seconds)
        if kind == "kill":
            server.kill()
        else:
            await server.stop()
        await asyncio.sleep(seconds)
        return await server.start()

    async def _strike_child(self, name: str, kind: str, seconds: float) -> None:
        child = self.children[name]
        if kind == "freeze":
            return await _freeze(child, seconds)
        if kind == "kill":
            self.wanted.discard(name)
            child.kill()
        else:
            await self._stop(name)
        await asyncio.sleep(seconds)
        self._start(name)
        return None

    def _start(self, name: str) -> None:
        if not self.children[name].alive:
            self.children[name].start()
        self.wanted.add(name)

    async def _stop(self, name: str) -> None:
        self.wanted.discard(name)
        child = self.children[name]
        if child.alive:
            child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while child.alive:  # noqa: ASYNC110 - a process has no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            # What an orchestrator does to who does not stop.
            self.say(f"{name} did not stop within {STOP_SECONDS} s")
            child.kill()

    async def _rewind(self, seconds: float) -> None:
        """Set each partition back by some records while nobody is there."""
        bridges = [*BRIDGES, GUEST]
        await asyncio.gather(*(self._stop(name) for name in bridges))
        try:
            async with asyncio.timeout(SESSION_SECONDS + 10):
                # The static one is a member until its session is over.
                while not await self._has_set_back():  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
        except TimeoutError:
            self.say("not rewound")
        await asyncio.sleep(seconds)
        for name in BRIDGES:
            self._start(name)

    async def _has_set_back(self) -> bool:
        topic = self.here.topics["in"]
        try:
            for number, offset in (await self.here.committed()).items():
                await self.here.rewind(Place(topic, number, max(offset - self.chance.randrange(1, 60), 0)))
        except KafkaError:
            return False
        return True

    def heal(self) -> None:
        """End what may be left of faults."""
        for name in (*BRIDGES, "worker"):
            self._start(name)

    def defects(self) -> list[str]:
        """What the service itself calls defects of its own."""
        return [
            f"{name}: {line['event']} {line.get('record', '')}"
            for name, child in self.children.items()
            for line in log_lines(child)
            if line["event"] in DEFECTS
        ]


async def play(
    seed: int, folder: Path, shape: Shape, *, build: str = "sound", say: Callable[[str], None] = print
) -> Verdict:
    """One round with `seed`."""
    began, began_at = time.monotonic(), time.time()

    def told_with_time(text: str) -> None:
        say(f"  {time.monotonic() - began:6.1f} s  {text}")

    async with _stage(seed, folder, shape, build, told_with_time) as stage, asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(stage.keep())
        await _load_and_faults(stage, seed, shape)
        stage.heal()
        told_with_time("peace")

        async def look() -> bool:
            return await caught_up(stage.here)

        done = await settled(look, seconds=PEACE_SECONDS, done=bool)
        told_with_time("caught up" if done else "NOT caught up")
        report, recovered = await _verdict(stage)
        keeping.cancel()
        return Verdict(
            seed,
            report,
            stage.done,
            stage.ended,
            stage.defects(),
            done,
            recovered,
            time.monotonic() - began,
            report.stalled.since - began_at,
            {
                "kafka": stage.before_broker.swallowed_bytes,
                "temporal": stage.before_temporal.swallowed_bytes,
            },
        )


async def _load_and_faults(stage: Stage, seed: int, shape: Shape) -> None:
    async with asyncio.timeout(shape.seconds * 3 + PEACE_SECONDS), asyncio.TaskGroup() as tasks:
        plans = make_plan(
            seed,
            keys=shape.keys,
            seconds=shape.seconds,
            per_key=shape.per_key,
            kinds_left=shape.kinds_left,
        )
        for plan in plans:
            tasks.create_task(stage.told.follow(plan))
        for kinds in (OF_BRIDGES, OF_NEIGHBOURS):
            tasks.create_task(stage.suffer(make_faults(seed, kinds, seconds=shape.seconds)))


async def _verdict(stage: Stage) -> tuple[Report, float]:
    history = None

    async def look() -> Report:
        nonlocal history
        history = await observe(stage.here, stage.told, stage.children.values(), ended=time.time())
        return check(history)

    report = await settled(look, seconds=SETTLE_SECONDS, done=lambda seen: seen.settled)
    assert history
    return report, recovery(history, stage.ends)


@asynccontextmanager
async def _stage(
    seed: int, folder: Path, shape: Shape, build: str, say: Callable[[str], None]
) -> AsyncIterator[Stage]:
    port, front, direct = random_port(), random_port(), random_port()
    broker = ApacheKafka(folder / "kafka", port=port, overrides=two_doors(port, front, direct))
    temporal = LocalTemporal(folder / "temporal", random_port(), random_port())
    chance = random.Random(f"stage {seed}")
    async with AsyncExitStack() as stack:
        # Killed at the end: nobody reads their data any more.
        stack.callback(broker.kill)
        stack.callback(temporal.kill)
        await asyncio.gather(broker.start(), temporal.start())
        before_broker = await stack.enter_async_context(wire(broker.address, front))
        before_temporal = await stack.enter_async_context(wire(temporal.address, random_port()))
        here = await stack.enter_async_context(
            group(f"{HOST}:{direct}", temporal.address, folder, limit=shape.limit)
        )
        told = await stack.enter_async_context(ledger(f"{HOST}:{direct}", here.topics["in"]))
        env = {
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": before_broker.address,
            "TEMPORAL_ADDRESS": before_temporal.address,
        }
        children = {
            name: process(here, "bridge", folder, build=build, name=name, **env, **_membership(name))
            for name in (*BRIDGES, GUEST)
        }
        children["worker"] = process(here, "worker", folder, build=build, name="worker", **env)
        deadline = time.monotonic() + shape.seconds * 1.5
        stage = Stage(
            broker, temporal, before_broker, before_temporal, here, told, children, chance, say, deadline
        )
        for child in children.values():
            stack.callback(child.kill)
        stage.heal()
        yield stage


def _membership(name: str) -> dict[str, str]:
    return {"TURNOUT_KAFKA__GROUP_INSTANCE_ID": name} if name == STATIC else {}


async def _freeze(child: Child, seconds: float) -> None:
    child.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        child.send_signal(signal.SIGCONT)
