"""What runs the programs of this folder, and says where that cannot be."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.local import Child
from tests.servers import BUILD, jars, java_version, why_no_jars

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JAVA_SOURCES = HERE / "java"
JAVA_FOLDER = BUILD / "elsewhere-java"
NODE_SOURCES = HERE / "node"
NODE_FOLDER = BUILD / "elsewhere-node"
READERS_SOURCES = HERE / "readers"
READERS_FOLDER = BUILD / "elsewhere-readers"


def needed(missing: str | None) -> None:
    """Skip the test where something is missing; with CI=true nothing may be."""
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"with CI=true this test needs {missing}")
    if missing:
        pytest.skip(f"needs {missing}")


def why_no_java() -> str | None:
    """Say what is missing on this machine for the worker in Java, or None when nothing is."""
    if java_version() < 17 or shutil.which("javac") is None:
        return "a Java Development Kit of version 17 or newer (java, javac)"
    return why_no_jars(JAVA_FOLDER, _pom())


def _pom() -> str:
    return (JAVA_SOURCES / "pom.xml").read_text()


@dataclass(frozen=True)
class Service:
    """A plain service, which is called with what it is to connect to."""

    program: Sequence[str | Path]
    env: Mapping[str, str]

    @asynccontextmanager
    async def running(self, log: Path, *args: str) -> AsyncIterator[Child]:
        """Run it with these arguments."""
        child = Child("a plain service", [*self.program, *args], log_path=log, env=self.env, cwd=ROOT)
        child.start()
        try:
            yield child
        finally:
            await child.terminate()


@dataclass(frozen=True)
class JavaWorker:
    """The worker in Java, compiled; its workflow is `Visit`."""

    class_path: str

    @asynccontextmanager
    async def running(self, temporal: str, task_queue: str, log: Path) -> AsyncIterator[Child]:
        """Run it for one task queue."""
        argv = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", self.class_path]
        child = Child(
            "the worker in Java",
            [*argv, "elsewhere.Main", task_queue],
            log_path=log,
            env={"TEMPORAL_ADDRESS": temporal},
        )
        child.start()
        try:
            yield child
        finally:
            await child.terminate()


async def compiled_java(folder: Path) -> JavaWorker:
    """Compile the worker into `folder`."""
    libs = await asyncio.to_thread(jars, JAVA_FOLDER, _pom())
    options: list[str | Path] = ["-Xlint:all", "-Werror", "-d", folder, "-cp", libs / "*"]
    compiler = await asyncio.create_subprocess_exec("javac", *options, *JAVA_SOURCES.rglob("*.java"))
    assert await compiler.wait() == 0
    return JavaWorker(f"{folder}{os.pathsep}{libs / '*'}")


def python_service() -> Service:
    """The plain service in Python."""
    return Service([sys.executable, "-m", "tests.elsewhere.python.answers"], {})


def why_no_node() -> str | None:
    """Say what is missing on this machine for the service in JavaScript, or None when nothing is."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node.js (node, npm)"
    return None


async def node_service() -> Service:
    """The plain service in JavaScript; the first time, npm fetches what it needs."""
    modules = await node_modules(NODE_SOURCES, NODE_FOLDER)
    return Service(["node", NODE_SOURCES / "answers.js"], {"NODE_PATH": str(modules)})


async def node_modules(sources: Path, folder: Path) -> Path:
    """Where the packages are that `sources` names; the first time, npm fetches them into `folder`.

    A lock beside `package.json` holds the hashes of all of them, and no addresses: npm takes them from where
    it is set up to.
    """
    if how := _to_install(sources, folder):
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        npm = await asyncio.create_subprocess_exec("npm", *how, *options, cwd=folder)
        assert await npm.wait() == 0
        _installed(folder).write_text(_named(sources))
    return folder / "node_modules"


def _to_install(sources: Path, folder: Path) -> Sequence[str]:
    """What npm is to be called with; nothing if all is there."""
    done = _installed(folder)
    if done.exists() and done.read_text() == _named(sources):
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    for file in _npm_files(sources):
        shutil.copy(file, folder)
    return ["ci"] if (sources / "package-lock.json").exists() else ["install", "--no-package-lock"]


def _installed(folder: Path) -> Path:
    return folder / "done.txt"


def _npm_files(sources: Path) -> Sequence[Path]:
    return sorted(sources.glob("package*.json"))


def _named(sources: Path) -> str:
    return "".join(file.read_text() for file in _npm_files(sources))


async def read_by(reader: str, *files: Path) -> list[dict[str, Any]]:
    """What `readers/<reader>.js` says of each file, one JSON object for each."""
    modules = await node_modules(READERS_SOURCES, READERS_FOLDER)
    node = await asyncio.create_subprocess_exec(
        "node",
        READERS_SOURCES / f"{reader}.js",
        *files,
        env=os.environ | {"NODE_PATH": str(modules)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, _ = await node.communicate()
    assert node.returncode == 0
    return [json.loads(line) for line in out.splitlines()]
