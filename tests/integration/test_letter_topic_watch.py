"""What someone does to the letter topic while a bridge runs is seen, and said once."""

from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from service.errors import Unreachable
from service.failures import letter_topic as watching
from service.failures.letter_topic import LetterTopicWatch
from service.failures.letters import letter_topic, letter_topic_settings
from service.kafka.connection import Connection
from service.local import LocalTemporal
from service.telemetry.metrics import Metrics
from service.wiring import Roles
from tests.conftest import NewTopic
from tests.integration.service import NOTES, site
from tests.servers import create_topic, random_port


class World:
    """A letter topic as it should be, and who looks at it."""

    def __init__(self, kafka: str, source: str) -> None:
        self.kafka = kafka
        self.group = f"g-{source}"
        self.topic = letter_topic(self.group)
        self.metrics = Metrics()
        connection = Connection(bootstrap_servers=kafka)
        self.watch = LetterTopicWatch(connection, self.group, lambda _: [source], self.metrics)

    async def set(self, **settings: str) -> None:
        """Set these, and all others back."""
        wanted = {**letter_topic_settings(), **{name.replace("_", "."): v for name, v in settings.items()}}
        await change(self.kafka, self.topic, wanted)

    async def look(self) -> tuple[list[str], list[str]]:
        """What is wrong, and which lines the log got."""
        with capture_logs() as lines:
            await self.watch.look()
        return list(self.watch.problems), [line["log_level"] for line in lines]

    @property
    def measured(self) -> str:
        (line,) = [
            line
            for line in self.metrics.text().splitlines()
            if line.startswith("turnout_letter_topic_problems")
        ]
        return line.rpartition(" ")[2]


async def change(kafka: str, topic: str, settings: dict[str, str]) -> None:
    """Give `topic` these settings and no others."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    try:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])
    finally:
        await client.close()


@pytest.fixture
async def world(kafka: str, new_topic: NewTopic) -> World:
    world = World(kafka, await new_topic())
    await create_topic(kafka, world.topic, settings=letter_topic_settings())
    return world


async def test_a_change_is_said_once_with_its_cure_and_so_is_its_end(world: World) -> None:
    assert (await world.look(), world.measured) == (([], []), "0.0")
    await world.set(retention_ms="3600000")
    (problem,), lines = await world.look()
    assert "forgets letters after 1 hours" in problem
    assert f"--entity-name {world.topic} --add-config retention.ms=" in problem
    assert (lines, world.measured) == (["warning"], "1.0")
    assert await world.look() == ([problem], [])
    await world.set()
    assert (await world.look(), world.measured) == (([], ["info"]), "0.0")


async def test_what_would_keep_us_from_starting_is_said_while_we_run(world: World) -> None:
    await world.set(cleanup_policy="compact", max_message_bytes="1000")
    problems, lines = await world.look()
    assert ["is compacted" in problems[0], "does not take the letter" in problems[1]] == [True, True]
    assert lines == ["warning", "warning"]


async def test_a_topic_that_is_gone_is_said(world: World) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=world.kafka)
    await client.start()
    await client.delete_topics([world.topic])
    await client.close()
    (problem,), _ = await world.look()
    assert f"topic {world.topic} is gone" in problem


async def test_what_was_known_stays_while_no_broker_answers(world: World) -> None:
    connection = Connection(bootstrap_servers=f"127.0.0.1:{random_port()}")
    watch = LetterTopicWatch(connection, world.group, lambda _: [], world.metrics)
    with pytest.raises(Unreachable):
        await watch.look()
    assert not watch.problems


async def test_a_bridge_looks_while_it_runs(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.2)
    async with (
        site(kafka, temporal.address, tmp_path, NOTES) as here,
        here.running(Roles(bridge=True, worker=False)),
    ):
        await here.past(await here.send("unheard", {}))
        await change(kafka, letter_topic(here.group), {**letter_topic_settings(), "retention.ms": "3600000"})

        async def said() -> list[str]:
            problems = [line["problem"] for line in here.lines if line["event"] == "letter topic"]
            return [problem for problem in problems if "forgets letters after 1 hours" in problem]

        assert len(await here.until(said)) == 1
