"""What `turnout init` writes, command by command as its README says; and that the wheel has it."""

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from service.cli.init import FILES, init
from service.local import Child
from tests.servers import random_port

ROOT = Path(__file__).parents[2]
ON_OTHER_PORTS = """
import sys
from service import __main__, local
local.KAFKA_PORT, local.TEMPORAL_PORT, local.TEMPORAL_UI_PORT, local.CLOSING_PORT = map(int, sys.argv[1:5])
del sys.argv[1:5]
__main__.main()
"""
"""Other tests may use the usual ones at the same time."""


def _environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TURNOUT_")}
    return {**ours, "COLUMNS": "300", **more}


async def _said(folder: Path, command: str, environment: dict[str, str], until: str) -> str:
    """What a command of the README says, until that is among it."""
    script = f'turnout() {{ exec "{sys.executable}" -m service "$@"; }}; {command}'
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    said = ""
    try:
        async with asyncio.timeout(90):
            while until not in said:
                line = await process.stdout.readline()
                assert line, said
                said += line.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return said


async def test_the_commands_of_the_readme_lead_from_an_event_to_its_result(tmp_path: Path) -> None:
    folder = tmp_path / "first"
    init(folder)
    commands = [
        line
        for block in re.findall(
            r"^```sh\n(.*?)^```", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE
        )
        for line in block.splitlines()
    ]
    *_, run, emit, tail = commands
    ports = [str(random_port()) for _ in range(4)]
    argv = [sys.executable, "-c", ON_OTHER_PORTS, *ports, *run.split()[1:]]
    dev = Child("dev", argv, cwd=folder, log_path=tmp_path / "log", env={"TURNOUT_LOG__FORMAT": "json"})
    dev.start()
    try:
        while not all(f'"{role} ready"' in dev.tail(200) for role in ("bridge", "worker")):
            assert dev.alive, dev.tail(50)
            await asyncio.sleep(0.1)
        there = _environment(TURNOUT_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{ports[0]}")
        letters = tail.replace("hello.greetings", "dev.dead-letters")
        _, _, greeted, letter = await asyncio.gather(
            _said(folder, emit, there, " lies at hello.visitors["),
            _said(folder, emit, there, " lies at hello.visitors["),
            _said(folder, tail, there, '{"text":"Hello Ada"}'),
            _said(folder, letters, there, '{"name":"Ada"}'),
        )
        assert "ce_type: hello.greeted" in greeted
        assert "turnout-route: visitor-came" in letter
        assert "workflow greeting/Ada" in letter
    finally:
        await dev.terminate()


def test_the_wheel_has_what_is_written(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {f"service/cli/starter/{name}" for name in FILES} <= held
