"""The sample can be deleted whole: its folders are called shop, and the demo's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.local import Child, LocalTemporal
from tests.conftest import FEW_EXAMPLES

ROOT = Path(__file__).parents[2]
CODE = ("service", "workflows", "activities", "deploy", "docs", "tests")
LONG = ("test_many_letters.py", "test_park_model.py")


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project without its sample."""
    folder = tmp_path_factory.mktemp("rest")
    without = shutil.ignore_patterns("shop", "demo", "test_demo.py", "__pycache__")
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=without)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    # What mypy knows of libraries, and of files that are the same, it need not find out again.
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    yield folder
    shutil.rmtree(folder)


def run(rest: Path, *argv: str) -> None:
    python_path = {"PYTHONPATH": str(rest)}  # before the installed project
    done = subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=rest,
        env=os.environ | python_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rest_lints(rest: Path) -> None:
    run(rest, "ruff", "check", "--no-cache")
    run(rest, "importlinter.cli", "--no-cache")
    run(rest, "mypy", "-p", "service", "-p", "workflows", "-p", "activities")


def test_the_rest_has_tests_that_need_nothing_of_the_sample(rest: Path) -> None:
    run(rest, "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "tests")


@pytest.mark.long
def test_the_rest_passes_its_unit_tests(rest: Path) -> None:
    # What may fail without the sample fails for any example, and not for how much there is.
    few = [f"--hypothesis-profile={FEW_EXAMPLES}", *(f"--ignore=tests/unit/{name}" for name in LONG)]
    run(rest, "pytest", "-q", "-x", *few, "-p", "no:cacheprovider", "tests/unit")


async def test_the_rest_starts(rest: Path, tmp_path: Path, kafka: str, temporal: LocalTemporal) -> None:
    environment = {
        "PYTHONPATH": str(rest),
        "TURNOUT_GROUP": "rest",
        "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "TEMPORAL_ADDRESS": temporal.address,
    }
    argv = [sys.executable, "-m", "service", "worker"]
    worker = Child("worker", argv, env=environment, cwd=rest, log_path=tmp_path / "log")
    worker.start()
    try:
        while "worker ready" not in worker.tail():
            assert worker.alive, worker.tail()
            with pytest.raises(TimeoutError):
                await worker.wait(timedelta(milliseconds=100))
        await worker.terminate()
        assert worker.returncode == 0, worker.tail()
    finally:
        worker.kill()
