"""The OpenAPI document is true of a running service: schemathesis calls it in ways that nobody thought of."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.api.models import Start
from service.local import LocalTemporal
from service.settings import ApiSettings
from tests.integration.api_site import NOW, Asked, asked_site
from tests.servers import random_port

# 503 and 504: that a workflow has not begun, or nobody works for it, is no fault of the server. 422: what is
# well said may be refused by the routes, which the document knows nothing of.
CONFIG = """
[parameters]
"path.topic" = "{topic}"
"query.namespace" = "default"
{more}
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503, 504]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 403, 404, 409, 422, 503, 504{beyond_64_bits}]
"""

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
async def asked(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asked]:
    folder = tmp_path_factory.mktemp("openapi")
    api = ApiSettings(http_address=f"127.0.0.1:{random_port()}", time_limit=timedelta(seconds=1))
    async with asked_site(kafka, temporal.address, folder, api) as here:
        yield here


async def test_a_running_service_does_as_its_document_says(asked: Asked, tmp_path: Path) -> None:
    there = await _tally(asked)
    await _hold(asked, tmp_path, there, "--phases=fuzzing", "--max-examples=3", "--seed=1", "--no-shrink")


@pytest.mark.long
@pytest.mark.parametrize("name", ["nothing-there", "there"])
async def test_a_running_service_does_as_its_document_says_for_long(
    asked: Asked, tmp_path: Path, name: str
) -> None:
    there = await _tally(asked) if name == "there" else ""
    await _hold(
        *(asked, tmp_path, there, "--phases=examples,coverage,fuzzing,stateful", "--max-examples=20"),
        beyond_64_bits=", 400",  # such integers are refused, and a schema of any JSON cannot say so
    )


async def _tally(asked: Asked) -> str:
    """A workflow that all calls are for; its id has no slash, which schemathesis would write as it is."""
    id_ = f"tally-{uuid.uuid4()}"
    asking = Start(workflow_id=id_, workflow="Tally", task_queue=asked.site.group, args=[0])
    await asked.handler.start(asking, NOW)
    return f'"path.workflow_id" = "{id_}"'


async def _hold(asked: Asked, folder: Path, parameters: str, *more: str, beyond_64_bits: str = "") -> None:
    """Run schemathesis with these parameters fixed, and `more` of its options; it finds nothing."""
    at = f"http://{asked.site.settings.api.http_address}/openapi.json"
    config = folder / "schemathesis.toml"
    topic = asked.site.topics["in"]
    config.write_text(CONFIG.format(topic=topic, more=parameters, beyond_64_bits=beyond_64_bits))
    command = [sys.executable, "-m", "tests.schemathesis_run", "--config-file", str(config), "run", at]
    running = await asyncio.create_subprocess_exec(
        *command,
        *("--no-color", "--generation-database=none", *more),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    assert not [line for line in asked.site.lines if line["event"].startswith("defect")]
