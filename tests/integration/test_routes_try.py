"""`turnout routes try` on a real broker: which records it reads, and what it says of them."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from service.kafka.record import Partition
from service.settings import KafkaSettings, Settings
from service.trial import Tried, routes_to_try, try_routes
from tests.conftest import NewTopic
from tests.integration.service import RouteText, event_headers
from tests.pages import ROOT, page

ROUTES = """
version: 1
topics:
  @in: {unmatched: skip}
routes:
  - name: placed
    from: @in
    type: placed
    when: data.total > 0
    start: {workflow: Shop, id: "order/${data.id}", task_queue: q, input: "${data}"}
"""
CHANGED = ROUTES.replace("order/", "orders/").replace(
    'input: "${data}"', 'input: "${data}", contract: {required: [vip]}'
)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Orders:
    """A topic with orders, and routes for it."""

    def __init__(self, kafka: str, topic: str, folder: Path, producer: AIOKafkaProducer) -> None:
        self.topic = topic
        self.folder = folder
        self.producer = producer
        self.settings = Settings(group="none", kafka=KafkaSettings(bootstrap_servers=kafka))

    async def write(
        self, partition: int, *minutes: int, producer: AIOKafkaProducer | None = None, **data: Any
    ) -> None:
        """One order for each of these minutes after noon."""
        for minute in minutes:
            await (producer or self.producer).send_and_wait(
                self.topic,
                orjson.dumps({"id": f"A-{minute}", "total": 5, **data}),
                partition=partition,
                headers=list(event_headers("placed", id=f"E-{partition}-{minute}")),
                timestamp_ms=int((NOON + timedelta(minutes=minute)).timestamp()) * 1000,
            )

    def routes(self, text: str = ROUTES, name: str = "routes") -> Path:
        file = self.folder / name / "routes.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(RouteText(text).substitute({"in": self.topic}))
        return file.parent

    async def tried(self, span: int | datetime, *topics: str, text: str = ROUTES) -> Tried:
        """What comes of it; seen to come to its end."""
        said: list[int] = []
        tried = await try_routes(
            self.settings,
            routes_to_try(self.settings, self.routes(text), None),
            topics or [self.topic],
            span,
            counted=said.append,
            moved=said.append,
            stop=asyncio.Event(),
        )
        total, *moved = said
        assert moved == sorted(moved)
        assert moved[-1] == total
        return tried

    def held(self, tried: Tried) -> Sequence[Sequence[int]]:
        return [list(tried.held[Partition(self.topic, n)]) for n in range(3)]


@pytest.fixture
async def orders(kafka: str, new_topic: NewTopic, tmp_path: Path) -> AsyncIterator[Orders]:
    async with _producer(kafka) as producer:
        # What is written has times long past, which would expire before it is read.
        topic = await new_topic(settings={"retention.ms": "-1"})
        yield Orders(kafka, topic, tmp_path, producer)


@asynccontextmanager
async def _producer(kafka: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_the_last_ones_are_the_newest_of_all_partitions_together(orders: Orders) -> None:
    await orders.write(0, 0, 1, 2, 30)
    await orders.write(1, 10, 11, 12, 13, 14, 40)
    tried = await orders.tried(4)
    assert orders.held(tried) == [[3], [3, 4, 5], []]
    assert (tried.tally.records, tried.complete, tried.missing) == (4, True, [])
    assert orders.held(await orders.tried(9)) == [[1, 2, 3], [0, 1, 2, 3, 4, 5], []]
    assert orders.held(await orders.tried(1_000)) == [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5], []]


async def test_since_begins_at_the_first_record_of_that_time_in_each_partition(orders: Orders) -> None:
    await orders.write(0, 0, 5, 10)
    await orders.write(1, 6)
    await orders.write(2, 1)
    tried = await orders.tried(NOON + timedelta(minutes=5))
    assert orders.held(tried) == [[1, 2], [0], []]
    assert tried.tally.records == 3
    assert (await orders.tried(NOON + timedelta(days=900))).tally.records == 0
    assert (await orders.tried(datetime(1, 1, 1, tzinfo=UTC))).tally.records == 5


async def test_what_expired_is_not_asked_for(kafka: str, orders: Orders) -> None:
    await orders.write(0, 0, 1, 2, 3)
    await orders.write(1, 4)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(orders.topic, 0): RecordsToDelete(2)})
    finally:
        await admin.close()
    for span in (3, 1_000, NOON):
        tried = await orders.tried(span)
        assert orders.held(tried) == [[2, 3], [0], []]
        assert tried.tally.records == 3


async def test_an_empty_topic_and_one_that_is_not_there_are_told_and_the_others_tried(orders: Orders) -> None:
    assert (await orders.tried(10)).tally.records == 0
    await orders.write(0, 0)
    tried = await orders.tried(10, "not-there", orders.topic)
    assert (tried.missing, tried.tally.records) == (["not-there"], 1)


async def test_what_an_aborted_transaction_wrote_is_not_tried(kafka: str, orders: Orders) -> None:
    async with _producer(kafka, transactional_id=orders.topic) as other:
        for end in (other.abort_transaction, other.commit_transaction, other.abort_transaction):
            await other.begin_transaction()
            await orders.write(0, 0, producer=other)
            await end()
    tried = await orders.tried(10)
    assert tried.tally.records == 1
    assert orders.held(tried)[0] == [0, 1, 2, 3, 4, 5]


# --- the command, as the documentation has it ---


async def _run(orders: Orders, *command: str) -> tuple[int, str, str]:
    arguments = [orders.topic if one == "shop.orders" else one for one in command]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "service", *arguments],
        cwd=orders.folder,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": orders.settings.kafka.bootstrap_servers,
            "TURNOUT_ROUTES": str(orders.folder / "nowhere"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def test_each_command_of_the_page_tells_what_would_become_of_the_records(orders: Orders) -> None:
    orders.routes(ROUTES, "routes-that-run")
    orders.routes(CHANGED, "routes-new")
    now = int((datetime.now(UTC) - NOON) / timedelta(minutes=1))
    await orders.write(0, now, vip=True)
    await orders.write(1, now)
    await orders.write(2, now, total=0)
    alone, compared, programs = [
        await _run(orders, *command)
        for command in page("docs/routes-lab.md").section("try").commands("turnout")
    ]
    code, out, errors = alone
    assert (code, errors) == (1, "")
    assert re.search(rf"^placed +{orders.topic} +start +1 +1 +1 +0 +0$", out, re.MULTILINE)
    assert "1 records would fail\n" in out
    assert f'the whole: "vip" is a required property\n          first: {orders.topic}/1/0\n' in out
    assert "would end otherwise" not in out
    code, out, errors = compared
    assert (code, errors) == (1, "")
    assert "1 records would fail, 1 of them in a way that they do not now\n" in out
    assert f"route placed: start differs: id\n          first: {orders.topic}/0/0\n" in out
    assert f"route placed: start → letter\n          first: {orders.topic}/1/0\n" in out
    code, out, errors = programs
    told = orjson.loads(out)
    assert (code, errors, told["records"], told["failing_newly"], told["differing"]) == (1, "", 3, 1, 2)
    assert told["differences"][0] == {
        "route": "placed", "was": "start", "becomes": "start", "differs": ["id"],
        "count": 1, "first": [f"{orders.topic}/0/0"],
    }  # fmt: skip


async def test_what_fails_now_too_does_not_fail_the_command_and_the_usage_is_checked(orders: Orders) -> None:
    await orders.write(0, 0, total="much")
    orders.routes(ROUTES, "a")
    orders.routes(ROUTES.replace("order/", "orders/"), "b")
    code, out, _ = await _run(orders, *["routes", "try", "a", "--against", "b", "--last", "5"])
    assert (code, "1 records would fail, none of them in a way that they do not now\n" in out) == (0, True)
    code, out, errors = await _run(orders, *["routes", "try", "a", "--topic", "elsewhere"])
    assert (code, out) == (2, "")
    assert "no route reads elsewhere" in errors
