"""The servers that other tests and the demo rely on do what is said of them."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from service.errors import ConfigurationError, Unreachable
from service.local import (
    HOST,
    SEARCH_ATTRIBUTES,
    Child,
    LocalKafka,
    LocalServer,
    LocalTemporal,
    binary,
    free_port,
    speaks_kafka,
)
from tests.conftest import NewTopic, StartKafka
from tests.servers import create_topic, random_port

_SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


async def _eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", request_timeout_ms=2000)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_record_sent_to_the_broker_is_read_back(kafka: str, new_topic: NewTopic) -> None:
    topic = await new_topic("orders", partitions=1)
    async with _producer(kafka) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, b"%d" % number)
    assert await _read(kafka, topic, 10) == [b"%d" % number for number in range(10)]


async def test_topics_of_one_name_are_different_topics(new_topic: NewTopic) -> None:
    assert await new_topic("orders") != await new_topic("orders")


async def test_acknowledged_records_outlive_a_killed_broker(start_kafka: StartKafka) -> None:
    broker = await start_kafka()
    await create_topic(broker.address, "orders", partitions=1)
    sent = [b"%d" % number for number in range(100)]
    async with _producer(broker.address) as producer:
        for value in sent:
            await producer.send_and_wait("orders", value)
    address = broker.address
    broker.kill()
    assert not await speaks_kafka(broker.port)
    await broker.restart()
    assert broker.address == address
    assert await _read(address, "orders", len(sent)) == sent


async def test_a_paused_broker_answers_nobody_until_it_is_resumed(start_kafka: StartKafka) -> None:
    broker = await start_kafka()
    await create_topic(broker.address, "orders")
    async with _producer(broker.address) as producer:
        await producer.send_and_wait("orders", b"before")
        broker.pause()
        with pytest.raises(KafkaError):
            await producer.send_and_wait("orders", b"lost")
        broker.resume()
        await producer.send_and_wait("orders", b"after")


async def test_a_broker_obeys_properties_of_the_tests_choice(start_kafka: StartKafka) -> None:
    broker = await start_kafka({"message.max.bytes": "2000"})
    await create_topic(broker.address, "orders")
    async with _producer(broker.address) as producer:
        await producer.send_and_wait("orders", bytes(1000))
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait("orders", bytes(3000))


async def test_the_embedded_broker_keeps_records_over_a_restart(tmp_path: Path) -> None:
    async with LocalKafka(tmp_path, random_port()) as broker:
        await create_topic(broker.address, "orders", partitions=1)
        async with _producer(broker.address) as producer:
            await producer.send_and_wait("orders", b"kept")
        await broker.restart()
        assert await _read(broker.address, "orders", 1) == [b"kept"]


async def test_temporal_accepts_the_search_attributes_as_soon_as_it_is_ready(temporal: LocalTemporal) -> None:
    client = await Client.connect(temporal.address)
    attributes = TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(name), "x") for name in SEARCH_ATTRIBUTES]
    )
    handle = await client.start_workflow(
        "Any", id="servers/attributes", task_queue="nobody", search_attributes=attributes
    )
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
    await handle.terminate()


@pytest.mark.parametrize("end", ["restart", "crash"])
async def test_a_workflow_outlives_a_restart_of_temporal(tmp_path: Path, end: str) -> None:
    async with LocalTemporal(tmp_path, random_port(), random_port()) as server:
        client = await Client.connect(server.address)
        await client.start_workflow("Any", id="servers/kept", task_queue="nobody")
        if end == "crash":
            server.kill()
        await server.restart()
        again = await Client.connect(server.address)
        description = await again.get_workflow_handle("servers/kept").describe()
    assert description.status == WorkflowExecutionStatus.RUNNING


async def test_a_taken_port_yields_the_next_one() -> None:
    preferred = random_port()
    with socket.create_server((HOST, preferred)):
        assert preferred < free_port(preferred) <= preferred + 100
    assert free_port(preferred) == preferred


async def test_a_port_is_taken_too_when_all_addresses_are() -> None:
    preferred = random_port()
    with socket.create_server(("0.0.0.0", preferred)):
        assert free_port(preferred) > preferred


async def test_a_server_does_not_start_on_a_port_that_another_has(tmp_path: Path) -> None:
    port = random_port()
    server = LocalKafka(tmp_path, port)
    with socket.create_server((HOST, port)), pytest.raises(ConfigurationError, match=f"port {port} is taken"):
        await server.start()
    assert not server.child.alive


class _Mute(LocalServer):
    async def _answers(self) -> bool:
        return False


async def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; print('\\x1b[31mno disk\\x1b[0m'); sys.exit(3)"]
    server = _Mute(Child("Ledger", argv, log_path=tmp_path / "log"), random_port())
    with pytest.raises(Unreachable, match=r"(?s)Ledger at .* ended with exit code 3.*\nno disk$"):
        await server.start()


async def test_a_server_that_stays_mute_is_reported_and_ended(tmp_path: Path) -> None:
    child = Child("Ledger", _SLEEPER, log_path=tmp_path / "log")
    server = _Mute(child, random_port(), patience=timedelta(seconds=0.2))
    with pytest.raises(Unreachable, match="does not answer"):
        await server.start()
    assert not child.alive


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    child = Child("Ledger", _SLEEPER, log_path=tmp_path / "log")
    starting = asyncio.create_task(_Mute(child, random_port()).start())
    await _eventually(lambda: "up" in child.tail())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not child.alive


async def test_a_child_that_ignores_a_polite_end_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    child = Child("Stubborn", [sys.executable, "-c", code], log_path=tmp_path / "log")
    child.start()
    await _eventually(lambda: "up" in child.tail())
    await child.terminate(timedelta(seconds=0.1))
    assert child.returncode == -signal.SIGKILL


async def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(tmp_path: Path) -> None:
    code = "import os; print(os.getpid() == os.getpgrp() == os.getsid(0), os.environ['MOOD'], flush=True)"
    child = Child("Shy", [sys.executable, "-c", code], log_path=tmp_path / "log", env={"MOOD": "calm"})
    child.start()
    assert await child.wait(timedelta(seconds=10)) == 0
    assert child.tail() == "True calm"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children whose parent was killed")
async def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    ports = kafka_port, temporal_port, ui_port = random_port(), random_port(), random_port()
    code = f"""
import asyncio, pathlib, threading
from service.local import LocalKafka, LocalTemporal

async def main():
    folder = pathlib.Path({str(tmp_path)!r})
    async with LocalKafka(folder, {kafka_port}), LocalTemporal(folder, {temporal_port}, {ui_port}):
        print("both are up", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
    parent = Child("Parent", [sys.executable, "-c", code], log_path=tmp_path / "parent.log")
    parent.start()
    try:
        await _eventually(lambda: "both are up" in parent.tail() or not parent.alive)
        assert parent.alive, parent.tail()
        assert [free_port(port) == port for port in ports] == [False] * 3
    finally:
        parent.kill()
    # Each child is in a group of its own: the signal above did not reach it.
    await _eventually(lambda: all(free_port(port) == port for port in ports))


def test_a_missing_program_is_reported_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"pip install 'turnout\[local\]'"):
        binary("no-such-program")
