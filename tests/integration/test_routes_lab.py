"""The page of the routes lab, command by command; and explaining a record with what it would meet."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from service.cli import app as app_module
from service.local import LocalTemporal
from service.routing.checks import CHECKS
from tests.integration.service import HEAD, NOTE_ROUTE, Site, site
from tests.pages import page

ROOT = Path(__file__).parents[2]
PAGE = page("docs/routes-lab.md")
ROUTES = f"""{HEAD}routes:
{NOTE_ROUTE}\
  - {{name: shout, from: @in, type: noted, when: data.n > 1, signal: {{to: "@id/${{data.id}}", name: shout}}}}
  - name: keep
    from: @in
    type: kept
    start: {{workflow: Keep, id: "@id/${{data.id}}", task_queue: @queue, input: "${{data}}", running: skip}}
"""


async def _explained(here: Site, place: str) -> str:
    (options,) = [one for one in PAGE.commands("turnout", "routes", "explain") if "--live" in one]
    arguments = ["routes", "explain", *(place if one == "shop.orders/0/0" else one for one in options)]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=os.environ | here.env | {"COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_a_record_is_explained_with_what_its_commands_would_meet_in_temporal(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, topics=["in"]) as here:
        kept = await here.send("kept", {"id": "a"}, key="a")
        noted = await here.send("noted", {"id": "a", "n": 2}, key="a")
        kept_at, noted_at = (f"{one.topic}/{one.partition}/{one.offset}" for one in (kept, noted))
        told = await _explained(here, noted_at)
        workflow, queue = here.workflow_id("a"), here.settings.worker.task_queue
        assert f"  now: there is no workflow {workflow}; it would be started, a Keep\n" in told
        assert f"  now: no workers poll task queue {queue}\n" in told
        assert f"  now: there is no workflow {workflow}; missing: dead-letter\n" in told
        async with here.running():
            await here.past(kept)
            told = await _explained(here, noted_at)
            assert re.search(rf"  now: {workflow} is running since \S+Z, a Keep\n", told)
            assert re.search(rf"  now: [12] workers? polls? task queue {queue}\n", told)
            assert "  now: its worker has a handler for signal note\n" in told
            said = "which would wait in vain; it has end, note"
            assert f"  now: its worker has no handler for signal shout, {said}\n" in told
            told = await _explained(here, kept_at)
            assert f"  now: this event has started {workflow} already: it would be a duplicate\n" in told


# --- the documentation ---


def _run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    script = f'turnout() {{ "{sys.executable}" -m service "$@"; }}; {command}'
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TURNOUT_ROUTES": "routes"}
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def _tests_of_the_page() -> str:
    (text,) = (one.text for one in PAGE.blocks("yaml") if one.text.startswith("version: 1\ntests:"))
    return str(text)


def test_each_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    for name in ("routes", "routes-that-run"):
        (tmp_path / name).symlink_to(ROOT / "deploy/demo/routes")
    order, event = PAGE.blocks("json")
    (tmp_path / "order.json").write_text(order.text)
    (tmp_path / "event.json").write_text(event.text)
    for command in PAGE.section("lint").lines():
        ended = _run(tmp_path, command)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr
        assert re.fullmatch(r"\d+ routes? in \d+ files?: nothing found\n", ended.stderr)
    for command in PAGE.section("test").lines():
        ended = _run(tmp_path, command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "results.xml").exists()
    *without_servers, _live = PAGE.section("explain").lines()  # that one: see above
    people, programs, from_input = (_run(tmp_path, command) for command in without_servers)
    assert (
        "route payment-captured: makes a letter: correlation: it is no correlation of ours" in people.stdout
    )
    assert orjson.loads(programs.stdout)["event"]["id"] == "E-1"
    assert "route order-placed: starts OrderFulfilment order/A-1 on orders" in from_input.stdout


def test_each_document_of_the_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routes").symlink_to(ROOT / "deploy/demo/routes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    printed = []
    for command in (
        command for section in ("graph", "schema", "asyncapi") for command in PAGE.section(section).lines()
    ):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        app_module.main()
        printed.append(capsys.readouterr().out)
    assert codes == [0] * len(printed)
    picture, drawn, _, topics, _, named = printed
    assert (picture, drawn.splitlines()[0]) == ("", "flowchart LR")
    assert (tmp_path / "routes.svg").read_text() == (ROOT / "docs/shop-routes.svg").read_text()
    schema = orjson.loads((tmp_path / "routes.schema.json").read_bytes())
    assert "from" in schema["$defs"]["RouteKeys"]["properties"]
    assert '"$ref": "#/components/schemas/Order"' in topics
    assert orjson.loads((tmp_path / "topics.json").read_bytes())["info"]["version"] == "2.1.0"
    assert 'host: "kafka.shop:9092"' in named


def test_the_tests_on_the_page_pass(tmp_path: Path) -> None:
    order, _ = PAGE.blocks("json")
    (tmp_path / "order.json").write_text(order.text)
    (tmp_path / "routes").symlink_to(ROOT / "deploy/demo/routes")
    (tmp_path / "payments.test.yaml").write_text(_tests_of_the_page())
    ended = _run(tmp_path, "turnout routes test payments.test.yaml")
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (0, "5 tests in 1 file: 5 passed")


def test_the_page_has_all_codes() -> None:
    listed = re.findall(r"^\| (TR\d{3}) \| (\w+) \| (.*) \|$", PAGE.text, re.MULTILINE)
    assert listed == [(code, check.severity, check.about) for code, check in CHECKS.items()]
