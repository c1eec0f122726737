"""The servers that tests run against: Apache Kafka as a plain process, and what starts it early."""

import asyncio
import base64
import fcntl
import random
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.errors import Unreachable
from service.local import HOST, Child, LocalServer, free_port, speaks_kafka

KAFKA_VERSION = "4.3.1"
BUILD = Path(__file__).parent.parent / "build"
KAFKA_FOLDER = BUILD / f"kafka-{KAFKA_VERSION}"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>turnout.tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

# Silent by default, Kafka would leave nothing to read when it does not start.
_LOGGING = """rootLogger.level=warn
rootLogger.appenderRef.out.ref=OUT
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1}: %m%n
"""


def random_port() -> int:
    """Return a free port that no outgoing connection takes while a server is down.

    That is why the system is not asked for one: it gives ports out of the range
    that clients get theirs from, and a client that calls a dead server of that
    range can even be connected to itself.
    """
    return free_port(random.randrange(20_000, 32_000))


def why_no_apache_kafka() -> str | None:
    """Say what is missing on this machine to run Apache Kafka, or None when nothing is."""
    version = java_version()
    if version < 17:
        return f"Java 17 or newer (found: {version or 'none'})"
    return why_no_jars(KAFKA_FOLDER, _POM)


@cache
def java_version() -> int:
    """The Java that is here; 0 is none."""
    if shutil.which("java") is None:
        return 0
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else 0


def why_no_jars(folder: Path, pom: str) -> str | None:
    """Say what is missing on this machine to get the jars that `pom` names, or None when nothing is."""
    if not _complete(folder, pom) and shutil.which("mvn") is None:
        return "Maven (mvn), to fetch jars"
    return None


def _complete(folder: Path, pom: str) -> bool:
    file = folder / "pom.xml"
    return file.exists() and file.read_text() == pom


def jars(folder: Path, pom: str) -> Path:
    """Return the folder with the jars that `pom` names; the first time, they are fetched into `folder`."""
    if not _complete(folder, pom):
        folder.parent.mkdir(exist_ok=True)
        with alone(folder):
            if not _complete(folder, pom):
                _fetch_jars(folder, pom)
    return folder / "libs"


def kafka_jars() -> Path:
    """Return the folder with Kafka's jars, about 54 MB."""
    return jars(KAFKA_FOLDER, _POM)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process that runs tests is in such a block for `folder`."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_jars(folder: Path, pom: str) -> None:
    # Fetched beside it and renamed when whole: an interrupted fetch is redone.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        fetched = Path(scratch, "jars")
        fetched.mkdir()
        (fetched / "pom.xml").write_text(pom)
        argv = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
        argv += ["-DoutputDirectory=libs", "-DincludeScope=runtime"]
        done = subprocess.run(
            argv, cwd=fetched, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unreachable(f"Maven could not fetch {folder.name}:\n{done.stdout[-4000:]}{done.stderr}")
        shutil.rmtree(folder, ignore_errors=True)
        fetched.replace(folder)


class ApacheKafka(LocalServer):
    """A broker of Apache Kafka with its data, settings and log in `folder`.

    Acknowledged records outlive a kill. Topics must be created; they have three
    partitions where nothing else is said.

    Args:
        folder: Empty, or that of an earlier broker whose data to serve.
        overrides: Broker properties on top of, or instead of, the usual ones.
        port: Where it listens; None takes a random free one.
        scram_users: Passwords of users that it knows from the first, by SCRAM.
    """

    def __init__(
        self,
        folder: Path,
        *,
        overrides: Mapping[str, str] | None = None,
        port: int | None = None,
        scram_users: Mapping[str, str] | None = None,
    ) -> None:
        port = port or random_port()
        controller = free_port(port + 1)
        self._scram_users = scram_users or {}
        self._data = folder / "data"
        self._settings = folder / "server.properties"
        self._log = folder / "kafka.log"
        folder.mkdir(parents=True, exist_ok=True)
        properties = {**self._properties(port, controller), **(overrides or {})}
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        (folder / "log4j2.properties").write_text(_LOGGING)
        self._java: list[str | Path] = ["java", f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]
        argv = [*self._java, "-Xmx768m", "-Xms256m", "-XX:+UseSerialGC", "-cp", kafka_jars() / "*"]
        child = Child("Apache Kafka", [*argv, "kafka.Kafka", self._settings], log_path=self._log)
        super().__init__(child, port, more_ports=[controller])

    def _properties(self, port: int, controller: int) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._data),
            "num.partitions": "3",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "3",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # A killed broker may register again only when its last life's session is over.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
        }

    async def start(self) -> None:
        """Give the folder its identity the first time, then start and wait until it answers."""
        if not (self._data / "meta.properties").exists():
            await self._format()
        await super().start()

    async def _format(self) -> None:
        # 128 random bits; a leading "-" would be read as an option.
        cluster = "T" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        argv = [*self._java, "-XX:TieredStopAtLevel=1", "-cp", kafka_jars() / "*"]
        argv += ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", self._settings]
        for name, password in self._scram_users.items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                argv += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        tool = Child("Kafka's StorageTool", argv, log_path=self._log)
        tool.start()
        try:
            code = await tool.wait(timedelta(seconds=60))
        finally:
            tool.kill()
        if code:
            raise Unreachable(f"{tool.name} ended with exit code {code}:\n{tool.tail()}")

    async def _answers(self) -> bool:
        return await speaks_kafka(self.port)

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing answers."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.child.send_signal(signal.SIGCONT)


def two_doors(port: int, front: int, direct: int) -> dict[str, str]:
    """Settings of a broker at `port`: the service comes by a proxy at `front`, tests come by `direct`."""
    controller = random_port()
    return {
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{port},DIRECT://{HOST}:{direct},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{front},DIRECT://{HOST}:{direct}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT",
    }


class EarlyStart:
    """A server that starts in a thread while tests that need none run.

    Args:
        make: Gives the server, for an empty folder; may take its time.
    """

    def __init__(self, make: Callable[[Path], LocalServer]) -> None:
        self._make = make
        self._folder: Path | None = None
        # The thread lives until close(): a server is ended with the thread that started it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="server-start")
        self._started: Future[LocalServer] | None = None

    def begin(self) -> None:
        """Start it if that was not begun yet; does not wait."""
        if self._started is None:
            self._folder = Path(tempfile.mkdtemp(prefix="turnout-kafka-"))
            self._started = self._thread.submit(self._start, self._folder)

    def _start(self, folder: Path) -> LocalServer:
        server = self._make(folder)
        asyncio.run(server.start())
        return server

    async def server(self) -> LocalServer:
        """Return the server once it answers; an error at its start is raised by each call."""
        self.begin()
        assert self._started is not None
        return await asyncio.wrap_future(self._started)

    def close(self) -> None:
        """Stop the server and remove its data; may be repeated."""
        if self._started is not None and self._started.exception() is None:
            server = self._started.result()
            self._thread.submit(lambda: asyncio.run(server.stop())).result()
        self._thread.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


async def create_topic(
    bootstrap: str, name: str, *, partitions: int = 3, settings: Mapping[str, str] | None = None
) -> None:
    """Create a topic with one replica."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topic = NewTopic(name, partitions, 1, topic_configs=dict(settings or {}))
        answer = await admin.create_topics([topic])
    finally:
        await admin.close()
    for _, error, message in answer.topic_errors:
        if error:
            raise AssertionError(f"topic {name}: error {error}: {message}")
