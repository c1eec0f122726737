"""Embedded Kafka and Temporal for development and the demo, as plain child processes.

Neither proves a guarantee: the embedded broker loses its latest records when it is killed.
"""

import asyncio
import importlib.util
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from service.errors import ConfigurationError, Unreachable

HOST = "127.0.0.1"
KAFKA_PORT = 9092
TEMPORAL_PORT = 7233
TEMPORAL_UI_PORT = 8088
CLOSING_PORT = 7244
SEARCH_ATTRIBUTES = ("TurnoutRoute", "TurnoutEventType", "TurnoutEventId", "TurnoutRecord")

_POLL_SECONDS = 0.05
_PROBE_SECONDS = 5
_TAIL_BYTES = 16_384
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# A child must not outlive a parent that was killed with SIGKILL, and then nobody
# is left to end it: only the kernel can. On Linux a process may ask for a signal
# at its parent's death (PR_SET_PDEATHSIG, 1). It has to ask for itself, so this
# runs in the child and then becomes the real program: same pid, nothing in
# between. `preexec_fn` would do the same, but deadlocks when a thread of ours
# (gRPC's) holds a lock during the fork. The parent may have died before the
# request: hence the second look at its pid. "Parent" means the *thread* that
# called start(): call it from one that lives as long as the child should.
# Elsewhere (macOS) children are started directly, and end with stop() alone.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2:]
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the parent is gone")
os.execvp(program[0], program)
"""

# ApiVersions, version 0: the one request that a broker of any age answers.
# Length, key, version, correlation id, client id (kafka.apache.org/protocol, "ApiVersions").
_CORRELATION = 7
_API_VERSIONS = struct.pack(">ihhih7s", 17, 18, 0, _CORRELATION, 7, b"turnout")


def free_port(preferred: int) -> int:
    """Return `preferred`, or the next port above it that nobody listens on at 127.0.0.1.

    The caller tells its user when the two differ. Nothing is reserved: whoever
    binds the port first has it.

    Raises:
        ConfigurationError: This port and the hundred after it are taken.
    """
    for port in range(preferred, min(preferred + 101, 65_536)):
        if not _taken(port):
            return port
    raise ConfigurationError(f"port {preferred} and the hundred after it are taken on {HOST}")


def _taken(port: int) -> bool:
    # Binding alone is not enough: macOS lets one bind an address beside a
    # listener on all addresses. Connecting alone is not either: a listener may be busy.
    with socket.socket() as sock:
        sock.settimeout(1)
        if sock.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return True
    return False


def binary(name: str) -> Path:
    """Find the program `name`: beside this Python first, then on PATH.

    Raises:
        ConfigurationError: It is in neither place.
    """
    # Not resolved: a virtual environment's python is a link to another folder.
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=beside) or shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"{name} is not beside {sys.executable} nor on PATH; pip install 'turnout[local]'"
        )
    return Path(found)


def _noida() -> Path:
    # The wheel's script starts the real program as a child of its own, which
    # would outlive the script: take the program itself.
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        return binary("noida-db")
    program = Path(spec.origin).with_name("noida-db")
    if not program.is_file():
        return binary("noida-db")
    if not os.access(program, os.X_OK):  # the wheel's script repairs that too
        program.chmod(0o755)
    return program


class Child:
    """A program we run: its output goes to a file, and it ends when we end.

    It gets a process group of its own, so that Ctrl-C in a terminal reaches only
    the parent, which then ends its children in the order it wants.
    A child can be started again after it ended; its log is appended to.

    Args:
        name: What people call it; used in messages.
        argv: The program and its arguments.
        log_path: Where its output goes; the folder is made. None: where ours goes.
        env: Variables on top of the parent's environment.
        cwd: Its working folder; None is the parent's.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log_path: Path | None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._argv = [str(part) for part in argv]
        self._env = dict(env or {})
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; does not wait until it is of any use.

        Raises:
            RuntimeError: It is running already.
            ConfigurationError: There is no such program.
        """
        if self.alive:
            raise RuntimeError(f"{self.name} is running already")
        if shutil.which(self._argv[0]) is None:
            raise ConfigurationError(f"{self.name} cannot be started: there is no program {self._argv[0]}")
        with self._log() as log:
            self._process = subprocess.Popen(  # noqa: S603 - the program is the caller's choice
                self._tied(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log else None,
                env={**os.environ, **self._env},
                cwd=self._cwd,
                start_new_session=True,
            )

    @contextmanager
    def _log(self) -> Iterator[BinaryIO | None]:
        if self.log_path is None:
            yield None
            return
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            yield log

    def _tied(self) -> list[str]:
        if sys.platform != "linux":
            return self._argv
        return [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, str(os.getpid()), *self._argv]

    @property
    def pid(self) -> int | None:
        """The process id, also after its end; None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the number of the signal that ended it, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and its own children; nothing happens when it has ended."""
        if self._process is not None and self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def wait(self, timeout: timedelta | None = None) -> int:  # noqa: ASYNC109 - a duration, not seconds
        """Wait until it has ended and return its exit code.

        Raises:
            TimeoutError: It runs for longer than `timeout`.
            RuntimeError: It was never started.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
            # Looked at, not waited for in a thread: a thread could not be cancelled,
            # and would keep the interpreter from exiting.
            while (code := self._process.poll()) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
        return code

    async def terminate(self, timeout: timedelta = timedelta(seconds=10)) -> None:  # noqa: ASYNC109
        """Ask it to end, and kill it when it has not within `timeout`; may be repeated."""
        if not self.alive:
            return
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGCONT)  # a stopped process would not notice
        try:
            await self.wait(timeout)
        except TimeoutError:
            self.kill()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once (SIGKILL), giving it no chance to tidy up; may be repeated."""
        self.send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of its log, without colours; "" when there is none."""
        if self.log_path is None:
            return ""
        try:
            with self.log_path.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(_ESCAPES.sub("", text).splitlines()[-lines:])


class LocalServer(ABC):
    """A server on this machine: its port and its data outlive stop, kill and restart.

    Args:
        child: The program that serves.
        port: Where it serves, on 127.0.0.1.
        more_ports: What else it listens on.
        patience: How long a start may take until the server answers.
    """

    def __init__(
        self,
        child: Child,
        port: int,
        *,
        more_ports: Sequence[int] = (),
        patience: timedelta = timedelta(seconds=60),
    ) -> None:
        self.child = child
        self.port = port
        self._ports = (port, *more_ports)
        self._patience = patience

    @property
    def address(self) -> str:
        """`host:port`, as clients want it."""
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it answers a real request.

        Raises:
            Unreachable: It ended, or did not answer in time; the text ends with its last log lines.
            ConfigurationError: Its program is missing, or one of its ports is taken.
        """
        # Else the other program would answer while ours is still finding that out.
        for port in self._ports:
            if _taken(port):
                raise ConfigurationError(f"{self.child.name} cannot start: port {port} is taken on {HOST}")
        self.child.start()
        try:
            await self._until_ready()
        except BaseException:
            self.child.kill()
            raise

    async def _until_ready(self) -> None:
        patience = self._patience.total_seconds()
        started = time.monotonic()
        while not await self._answers():
            self._must_live()
            if time.monotonic() - started > patience:
                raise self._unreachable(f"does not answer after {patience:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)
        self._must_live()  # it may have ended while the answer was on its way

    def _must_live(self) -> None:
        if not self.child.alive:
            raise self._unreachable(f"ended with exit code {self.child.returncode}")

    def _unreachable(self, reason: str) -> Unreachable:
        text = f"{self.child.name} at {self.address} {reason}; the end of {self.child.log_path}:"
        return Unreachable(f"{text}\n{self.child.tail() or '(nothing)'}")

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether it serves; bounded in time, and never raises because it does not."""

    async def stop(self) -> None:
        """End it in good order; may be repeated."""
        await self.child.terminate()

    def kill(self) -> None:
        """End it at once, as a crash would; may be repeated."""
        self.child.kill()

    async def restart(self) -> None:
        """Stop it if it runs, then start it on the same port and data."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class LocalKafka(LocalServer):
    """A small Kafka broker (`noida-db`) with its data in `folder`/kafka and its log beside it.

    Good for development: killed, it loses its latest records (facts of noida-db 0.2.3).
    """

    def __init__(self, folder: Path, port: int = KAFKA_PORT) -> None:
        argv: list[str | Path] = [_noida(), "start", "--only", "kafka", "--data-dir", folder / "kafka"]
        argv += ["--host", HOST, "--kafka-port", str(port)]
        super().__init__(Child("Kafka", argv, log_path=folder / "kafka.log"), port)

    async def _answers(self) -> bool:
        return await speaks_kafka(self.port)


class LocalTemporal(LocalServer):
    """A Temporal development server with its UI.

    Args:
        folder: Where its log goes, and its database `temporal.db`.
        port: For gRPC.
        ui_port: For the web UI.
        keep: Whether workflows outlive the process; else they are kept in memory only.
    """

    def __init__(
        self, folder: Path, port: int = TEMPORAL_PORT, ui_port: int = TEMPORAL_UI_PORT, *, keep: bool = True
    ) -> None:
        self.ui_port = ui_port
        argv: list[str | Path] = [binary("temporal"), "server", "start-dev"]
        argv += ["--ip", HOST, "--port", str(port), "--ui-port", str(ui_port), "--ui-disable-news-fetch"]
        argv += ["--log-level", "error", "--color", "never"]
        if keep:
            # The pragmas cost durability only when the machine loses power, and
            # make starts three times as fast (measured, CLI 1.9.1).
            argv += ["--db-filename", folder / "temporal.db"]
            argv += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=OFF"]
        for setting in (
            "history.transferProcessorMaxPollRPS=2000",
            # One partition: a few pollers find every task at once.
            "matching.numTaskqueueReadPartitions=1",
            "matching.numTaskqueueWritePartitions=1",
            # Else no workflow may call when it closes.
            f'callback.allowedAddresses=[{{"Pattern":"{HOST}:*","AllowInsecure":true}}]',
        ):
            argv += ["--dynamic-config-value", setting]
        for attribute in SEARCH_ATTRIBUTES:
            argv += ["--search-attribute", f"{attribute}=Keyword"]
        super().__init__(
            Child("Temporal", argv, log_path=folder / "temporal.log"), port, more_ports=[ui_port]
        )

    @property
    def ui_url(self) -> str:
        """Where a browser finds the UI."""
        return f"http://{HOST}:{self.ui_port}"

    async def _answers(self) -> bool:
        if not (await _listens(self.port) and await _listens(self.ui_port)):
            return False
        request = DescribeNamespaceRequest(namespace="default")
        # rpc_timeout alone does not bound a call: the SDK retries within it.
        with suppress(TimeoutError, RuntimeError, RPCError):
            async with asyncio.timeout(_PROBE_SECONDS):
                client = await Client.connect(self.address)
                await client.workflow_service.describe_namespace(request)
                return True
        return False


async def _listens(port: int) -> bool:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(HOST, port)
    except (TimeoutError, OSError):
        return False
    await _close(writer)
    return True


async def speaks_kafka(port: int) -> bool:
    """Whether a broker answers on this port of 127.0.0.1, after at most five seconds."""
    with suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(_API_VERSIONS)
                _, correlation, error = struct.unpack(">iih", await reader.readexactly(10))
            finally:
                await _close(writer)
            return bool(correlation == _CORRELATION and error == 0)
    return False


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # the other side may have closed it with a reset
        await writer.wait_closed()


class LocalServers:
    """Kafka and Temporal together, on their usual ports or the next free ones, with data in `folder`.

    `moved` says which usual ports were taken, and which are used instead.
    """

    def __init__(self, folder: Path) -> None:
        wanted = (KAFKA_PORT, TEMPORAL_PORT, TEMPORAL_UI_PORT, CLOSING_PORT)
        kafka, temporal, ui, self._closing = ports = tuple(map(free_port, wanted))
        self.moved = {usual: port for usual, port in zip(wanted, ports, strict=True) if usual != port}
        self.kafka = LocalKafka(folder, kafka)
        self.temporal = LocalTemporal(folder, temporal, ui)

    @property
    def env(self) -> dict[str, str]:
        """The settings that lead turnout to them."""
        return {
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": self.kafka.address,
            "TURNOUT_TEMPORAL__UI_URL": self.temporal.ui_url,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": "default",
            "TURNOUT_CALLS__SECRET": "for this machine only",
            "TURNOUT_CLOSING__ADDRESS": f"{HOST}:{self._closing}",
            # No secret: nobody else reaches it.
            "TURNOUT_CLOSING__SECRET": "development",
        }

    async def start(self) -> None:
        """Start both; see `LocalServer.start`."""
        await asyncio.gather(self.kafka.start(), self.temporal.start())

    async def stop(self) -> None:
        """End both in good order; may be repeated."""
        await asyncio.gather(self.kafka.stop(), self.temporal.stop())
