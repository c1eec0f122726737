"""The image, run as containers between Kafka and Temporal in containers: an event goes all the way round."""

import asyncio
import gc
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from temporalio.client import Client
from testcontainers.core.network import Network

from service.cli.init import init
from service.failures.letters import letter_topic
from service.local import SEARCH_ATTRIBUTES
from tests.docker.containers import ApacheKafkaContainer, TemporalContainer, TurnoutContainer
from tests.docker.engine import engine, why_no_engine
from tests.docker.images import Images, images, why_no_images
from tests.servers import create_topic

pytestmark = [
    pytest.mark.docker,
    # Docker's library leaves its connections to the engine for the garbage collector to close: see `made`.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

GROUP = "first-steps"
GRACE_SECONDS = 30


@dataclass
class Stage:
    """What runs, and how to reach it from here."""

    kafka: str
    temporal: Client
    bridge: TurnoutContainer
    worker: TurnoutContainer


@pytest.fixture(scope="module")
def made() -> Iterator[Images]:
    """The images, in an engine that runs."""
    if missing := why_no_engine() or why_no_images():
        if os.environ.get("CI") == "true":
            pytest.fail(f"with CI=true the tests run containers; missing: {missing}")
        pytest.skip(f"needs {missing}")
    with engine():
        yield images()
    gc.collect()  # here, and not in the midst of a test that knows nothing of it


@pytest.fixture(scope="module")
async def stage(made: Images, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Kafka, Temporal, bridge and worker, each in a container, with what `turnout init` writes."""
    folder = tmp_path_factory.mktemp("first-steps")
    init(folder)
    async with AsyncExitStack() as stack:
        network = Network()
        stack.callback(network._docker.client.close)  # noqa: SLF001 - nobody else closes it
        stack.enter_context(network)
        kafka = ApacheKafkaContainer(made.kafka).with_network(network)
        temporal = TemporalContainer(made.temporal, SEARCH_ATTRIBUTES).with_network(network)
        for server in (kafka, temporal):
            stack.enter_context(server)
        await asyncio.gather(kafka.ready(), temporal.ready())
        for topic in ("hello.visitors", "hello.greetings"):
            await create_topic(kafka.address, topic)
        await create_topic(
            kafka.address, letter_topic(GROUP), partitions=1, settings={"max.message.bytes": "2097152"}
        )
        halves = {}
        for role in ("bridge", "worker"):
            half = TurnoutContainer(made.turnout, role).with_network(network)
            half.with_volume_mapping(folder / "routes", "/etc/turnout/routes")
            half.with_volume_mapping(folder / "hello", "/app/hello")
            half.with_envs(
                TEMPORAL_ADDRESS=temporal.inside,
                TURNOUT_GROUP=GROUP,
                TURNOUT_KAFKA__ALLOW_INSECURE="true",
                TURNOUT_TEMPORAL__ALLOW_INSECURE="true",
                TURNOUT_KAFKA__BOOTSTRAP_SERVERS=kafka.inside,
                TURNOUT_WORKER__MODULES="hello",
                TURNOUT_WORKER__TASK_QUEUE="hello",
            )
            halves[role] = stack.enter_context(half)
        yield Stage(kafka.address, await temporal.client(), halves["bridge"], halves["worker"])


async def test_an_event_is_answered_by_a_workflow_and_its_result_is_in_kafka(stage: Stage) -> None:
    async with AIOKafkaConsumer(
        "hello.greetings", bootstrap_servers=stage.kafka, auto_offset_reset="earliest"
    ) as results:
        async with AIOKafkaProducer(bootstrap_servers=stage.kafka) as producer:
            headers = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/test")]
            headers += [("ce_type", "hello.visitor.came"), ("content-type", "application/json")]
            await producer.send_and_wait(
                "hello.visitors",
                json.dumps({"name": "Ada"}).encode(),
                key=b"Ada",
                headers=[(name, value.encode()) for name, value in headers],
            )
        async with asyncio.timeout(90):
            record = await results.getone()
    assert json.loads(record.value) == {"text": "Hello Ada"}
    assert ("ce_type", b"hello.greeted") in record.headers
    async with asyncio.timeout(30):  # the result is there before the workflow has ended
        await stage.temporal.get_workflow_handle("greeting/Ada").result()
    for half in (stage.bridge, stage.worker):
        assert await _becomes(half, "healthy"), half.said


async def _becomes(half: TurnoutContainer, health: str) -> bool:
    async with asyncio.timeout(60):
        while half.health == "starting":  # noqa: ASYNC110 - Docker has to be asked
            await asyncio.sleep(0.2)
    return half.health == health


async def _is_ready(half: TurnoutContainer, role: str) -> bool:
    return f'"{role} ready"' in half.said


async def test_it_runs_without_rights_and_can_write_nowhere(stage: Stage) -> None:
    script = """
import os, shutil
status = dict(line.split(":\\t", 1) for line in open("/proc/1/status"))
writable = [path for path in ("/", "/app", "/etc/turnout/routes", "/opt/turnout", "/tmp", "/var", "/home")
            if os.path.isdir(path) and os.access(path, os.W_OK)]
tools = [tool for tool in ("pip", "pip3", "gcc", "cc", "make", "git") if shutil.which(tool)]
print([status["Uid"].split(), status["Gid"].split(), int(status["CapEff"], 16), int(status["CapBnd"], 16),
       status["NoNewPrivs"].strip(), writable, tools])
"""
    for half in (stage.bridge, stage.worker):
        done = half.exec(["python3", "-c", script])
        assert done.output.decode().strip() == str([["10001"] * 4, ["10001"] * 4, 0, 0, "1", [], []])


async def test_everything_in_it_is_compiled_already(stage: Stage) -> None:
    script = """
import importlib.util, pathlib, service, workflows, activities, aiokafka, temporalio
print([str(file) for package in (service, workflows, activities, aiokafka, temporalio)
       for file in pathlib.Path(package.__file__).parent.rglob("*.py")
       if not pathlib.Path(importlib.util.cache_from_source(str(file))).exists()])
"""
    assert stage.bridge.exec(["python3", "-c", script]).output.decode().strip() == "[]"


async def test_the_image_tells_what_it_is(stage: Stage) -> None:
    image = stage.bridge.get_wrapped_container().image
    assert image is not None
    assert image.labels["org.opencontainers.image.title"] == "turnout"
    assert image.labels["org.opencontainers.image.licenses"] == "Apache-2.0"


# The last one: it ends them.
async def test_a_stop_drains_and_is_no_kill(stage: Stage) -> None:
    for role, half in (("bridge", stage.bridge), ("worker", stage.worker)):
        # Not before: what has only begun to start ends with another code.
        await half.until(partial(_is_ready, half, role))
        code = await asyncio.to_thread(half.ended, GRACE_SECONDS)
        assert code == 0, half.said
        assert '"event":"stopping"' in half.said.replace(" ", "")
