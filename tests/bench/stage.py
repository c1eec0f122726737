"""What contenders meet: servers, topics with records, running workflows; and the processes they run in."""

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from temporalio.client import Client

from service.failures.letters import letter_topic
from service.local import LocalTemporal
from tests.bench.job import EVENT_TYPE, WORKFLOW, Figures, Job, headers_for, key_of, order, target
from tests.servers import ApacheKafka, create_topic, random_port

RECORD_BYTES = {"max.message.bytes": str(1 << 20)}
LETTER_BYTES = {"max.message.bytes": str(2 << 20)}
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
STARTS_AT_ONCE = 32
SENDS_AT_ONCE = 2_000
READ_SECONDS = 0.2
CALM_SHARE = 0.15
"""Of one core; below it the servers have cleared what a contender left behind."""

LOOK_SECONDS = 0.5
CALM_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")

ROUTES = """version: 1
topics:
  {topic}: {{}}
task_queues:
  {queue}: {{inbox: true}}
routes:
  - name: bench
    from: {topic}
    type: {type}
"""
START = """    start: {{workflow: {workflow}, id: "${{data.id}}", task_queue: {queue}, input: "${{data}}"}}
"""
SIGNAL = """    signal: {{to: "${{data.to}}", name: note, input: "${{data}}", batch: {batch}}}
"""


class ContenderFailed(Exception):  # noqa: N818 - its row has no figures then
    """A contender did not come to its figures; the text says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Servers that all contenders share, and a folder for routes and logs."""

    kafka: str
    temporal: str
    folder: Path
    client: Client
    producer: AIOKafkaProducer
    servers: Sequence[int] = ()
    """Their process ids, where contenders shall find them idle."""

    def job(self, **what: Any) -> Job:
        """A job with ids, topic and routes that no other has."""
        run = f"b-{uuid.uuid4().hex[:10]}"
        routes = str(self.folder / f"{run}.yaml")
        return Job(
            kafka=self.kafka, temporal=self.temporal, run=run, topic=f"{run}.in", routes=routes, **what
        )

    async def prepare(self, job: Job, *, partitions: int = 3, batch: bool = False) -> None:
        """The job's topic, letter topic and routes."""
        await create_topic(self.kafka, job.topic, partitions=partitions, settings=RECORD_BYTES | APPEND_TIME)
        await create_topic(self.kafka, letter_topic(job.run), partitions=1, settings=LETTER_BYTES)
        _write_routes(job, batch=batch)

    async def send(self, job: Job, numbers: Iterable[int]) -> None:
        """Write the events of these numbers to the job's topic; returns when all are acknowledged."""
        for some in _parts(numbers):
            await asyncio.gather(*[await self._begin(job, order(job, n)) for n in some])

    async def send_as(self, job: Job, id_: str) -> None:
        """Write one event of that id."""
        await (await self._begin(job, order(job, 0) | {"id": id_}))

    async def send_paced(self, job: Job, numbers: Iterable[int]) -> None:
        """Write events at the job's pace."""
        due = time.monotonic()
        for number in numbers:
            await self.send(job, [number])
            due += 1 / job.per_second
            await asyncio.sleep(max(due - time.monotonic(), 0))

    async def _begin(self, job: Job, data: dict[str, Any]) -> asyncio.Future[Any]:
        value, key, headers = json.dumps(data).encode(), key_of(job, data), headers_for(data)
        sent: asyncio.Future[Any] = await self.producer.send(job.topic, value, key=key, headers=list(headers))
        return sent

    async def start_targets(self, job: Job) -> None:
        """Start the workflows that the job's signals go to; no worker runs them."""
        places = asyncio.Semaphore(STARTS_AT_ONCE)

        async def one(number: int) -> None:
            async with places:
                await self.client.start_workflow(
                    WORKFLOW, {}, id=target(job.run, number), task_queue=job.queue
                )

        await asyncio.gather(*map(one, range(job.targets)))

    async def _calm(self) -> None:
        """Wait until the servers have next to nothing to do any more, but not for ever."""
        begin = time.monotonic()
        share = 1.0
        while share > CALM_SHARE and time.monotonic() < begin + CALM_SECONDS:
            before, then = _cpu_seconds(self.servers), time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)
            share = (_cpu_seconds(self.servers) - before) / (time.monotonic() - then)

    @asynccontextmanager
    async def contender(self, name: str, workload: str, job: Job) -> AsyncIterator["Contender"]:
        """Run a contender on idle servers; at the end of the block it is killed if it has not ended."""
        await self._calm()
        log = self.folder / f"{job.run}.{name}.log"
        argv = ["-m", "tests.bench.contender", name, workload, "--json-options", job.text()]
        environment = {**os.environ, "TEMPORAL_ADDRESS": self.temporal}
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *argv, stdout=asyncio.subprocess.PIPE, stderr=errors, env=environment
            )
        contender = Contender(f"{name} in {workload}", process, log)
        try:
            yield contender
        finally:
            await contender.kill()

    async def measure(self, name: str, workload: str, job: Job) -> Figures:
        """Run a contender to its end."""
        async with self.contender(name, workload, job) as contender:
            return await contender.figures()


@dataclass(slots=True)
class Contender:
    """A contender's process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    async def until(self, event: str) -> None:
        """Wait until it says that it is so far."""
        while (line := await self._line()) is not None:
            if line.get("event") == event:
                return
        raise await self._failure()

    async def figures(self) -> Figures:
        """Wait for what it measured."""
        while (line := await self._line()) is not None:
            if "event" not in line:
                return line
        raise await self._failure()

    async def kill(self) -> None:
        """End it at once; may be repeated."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def _line(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        text = await self.process.stdout.readline()
        return json.loads(text) if text else None

    async def _failure(self) -> ContenderFailed:
        code = await self.process.wait()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
        return ContenderFailed(f"{self.name} ended with exit code {code}; the end of {self.log}:\n{tail}")


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    """Start Apache Kafka and a Temporal dev server that keeps nothing; they end with the block."""
    kafka = ApacheKafka(folder / "kafka")
    temporal = LocalTemporal(folder, random_port(), random_port(), keep=False)
    async with kafka, temporal:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.address, acks="all")
        await producer.start()
        try:
            client = await Client.connect(temporal.address)
            servers = [server.child.pid for server in (kafka, temporal) if server.child.pid]
            yield Stage(kafka.address, temporal.address, folder, client, producer, servers)
        finally:
            await producer.stop()


@asynccontextmanager
async def working(stage: Stage) -> AsyncIterator[str]:
    """Run the one worker that all contenders share; the name of its task queue."""
    job = replace(stage.job(), routes="", queue=f"q-{uuid.uuid4().hex[:8]}", patience=3600)
    ready = await results_topic(stage)
    async with stage.contender("worker", "results", job) as worker:
        data = order(replace(job, out=ready), 0)
        first = asyncio.create_task(
            stage.client.execute_workflow(WORKFLOW, data, id=data["id"], task_queue=job.queue)
        )
        ended = asyncio.create_task(worker.figures())
        await asyncio.wait({first, ended}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not first.done():
            first.cancel()
            raise ContenderFailed(f"the worker did not come up; see {worker.log}")
        yield job.queue


async def results_topic(stage: Stage) -> str:
    """A topic of one partition in which the broker's clock says when a result came."""
    name = f"r-{uuid.uuid4().hex[:10]}"
    await create_topic(stage.kafka, name, partitions=1, settings=APPEND_TIME)
    return name


async def rate_of_results(stage: Stage, topic: str, warm: int, count: int, patience: float) -> float:
    """Wait for `warm + count` results; per second from the `warm`-th to the last, by the broker's clock."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stage.kafka, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    times: list[int] = []
    try:
        async with asyncio.timeout(patience):
            while len(times) < warm + count:
                for records in (await consumer.getmany(timeout_ms=int(READ_SECONDS * 1000))).values():
                    times += [record.timestamp for record in records]
    except TimeoutError as error:
        raise ContenderFailed(f"{len(times)} of {warm + count} results after {patience:.0f} s") from error
    finally:
        await consumer.stop()
    first, last = times[max(warm, 1) - 1], times[warm + count - 1]
    return 1000 * (count if warm else count - 1) / max(last - first, 1)


def _cpu_seconds(pids: Sequence[int]) -> float:
    """What these processes have used so far, by all of their threads; nothing where there is no /proc."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def _write_routes(job: Job, *, batch: bool) -> None:
    text = ROUTES + (START if job.kind == "start" else SIGNAL)
    names = {"topic": job.topic, "queue": job.queue, "type": EVENT_TYPE, "workflow": WORKFLOW}
    Path(job.routes).write_text(text.format(batch=str(batch).lower(), **names))


def _parts(numbers: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(numbers)
    while part := list(islice(rest, SENDS_AT_ONCE)):
        yield part
