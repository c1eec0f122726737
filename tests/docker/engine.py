"""A Docker engine for tests: the one that runs on this machine, else one that is started and ended here."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import docker
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config

from service.errors import Unreachable
from tests.servers import alone

DATA = Path.home() / ".cache" / "turnout" / "docker"
"""Where an engine that is started here keeps its images, so that they are made once on a machine."""

START_SECONDS = 60
STOP_SECONDS = 30

# Containers talk to each other, and are reached at published ports: a proxy process of the engine sees to
# that. So nothing of the machine's own network is changed, and nothing of ours stays when the engine ends.
# What this costs: containers do not get out of the machine. Nothing is to be had out there anyway. Names that
# are not theirs are asked for where nobody answers: so they fail at once, and not after a time-out.
NETWORK = (
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--dns=127.0.0.1",
)


@cache
def why_no_engine() -> str | None:
    """Say what is missing here to have a Docker engine, or None when one runs or can be started."""
    if _runs():
        return None
    if os.geteuid():
        return "a Docker engine that this user reaches (none answers; root could start one)"
    if missing := [name for name in ("dockerd", "containerd", "runc") if not shutil.which(name)]:
        return f"a Docker engine ({', '.join(missing)}: apt-get install docker.io)"
    return None


def _runs() -> bool:
    try:
        client = docker.from_env(timeout=10)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


@contextmanager
def engine() -> Iterator[None]:
    """Have an engine in this block, which clients find by the environment.

    One that runs already is used, and left running. Only one started here at a time runs on a machine.

    Raises:
        Unreachable: It did not start; the text ends with what it said.
    """
    # What removes containers after a crash of the tests is an image of its own, which is not to be had
    # without a registry; an engine that ends takes its containers with it.
    testcontainers_config.ryuk_disabled = True
    if _runs():
        yield
        return
    DATA.parent.mkdir(parents=True, exist_ok=True)
    with alone(DATA), tempfile.TemporaryDirectory(prefix="turnout-docker-") as scratch:
        folder = Path(scratch)
        process = _start(folder)
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
        try:
            _wait_for(process, folder / "log")
            _remove_left_over()
            yield
            _remove_left_over()
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if before is None:
                del os.environ["DOCKER_HOST"]
            else:
                os.environ["DOCKER_HOST"] = before


# Should this process be killed, nobody would be left to end the engine: so the kernel asks it to stop then
# (PR_SET_PDEATHSIG, 1), which ends its containers, too. See service/local.py.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2:]
ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the parent is gone")
os.execvp(program[0], program)
"""


def _start(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", _TIED_TO_PARENT, str(os.getpid()), "dockerd"]
    argv += [f"--host=unix://{folder}/docker.sock", f"--data-root={DATA}"]
    argv += [f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", "--config-file=", *NETWORK]
    with (folder / "log").open("wb") as log:
        # A group of its own: Ctrl-C at the tests must not end it before its containers are gone.
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
        )


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while not _runs():
        if process.poll() is not None or time.monotonic() > ends:
            raise Unreachable(f"dockerd did not start:\n{log.read_text(errors='replace')[-4_000:]}")
        time.sleep(0.1)


def _remove_left_over() -> None:
    """Remove containers and networks, of this run or of one that was killed: all here is of tests."""
    client = docker.from_env()
    try:
        for container in client.containers.list(all=True):
            with suppress(DockerException):
                container.remove(force=True, v=True)
        client.networks.prune()
        client.volumes.prune()
        # Not at once: the layers of an image's first stages are such, and spare the next run their making.
        client.images.prune({"dangling": True, "until": "168h"})
    finally:
        client.close()
