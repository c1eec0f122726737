"""What runs the programs of this folder, and says where that cannot be."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.local import Child
from tests.servers import BUILD, jars, java_version, why_no_jars

HERE = Path(__file__).parent
JAVA_SOURCES = HERE / "java"
JAVA_FOLDER = BUILD / "elsewhere-java"


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
