"""What Prometheus reads of running bridges: what waits for people, in one of them, and Temporal's client."""

import asyncio
import re
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from service.documents.metrics_page import CORE
from service.local import LocalTemporal
from service.redrive import standing
from service.settings import MetricsSettings
from service.wiring import Roles
from tests.integration.service import ECHO_ROUTE, HEAD, OUT, Site, site
from tests.servers import random_port

PARKING = """\
  - name: told
    from: @in
    type: told
    signal: {to: "@id/${data.id}", name: note, input: 1, missing: {park: 15m}}
"""
ROUTES = f"{HEAD}{OUT}routes:\n{ECHO_ROUTE}{PARKING}"
BRIDGE = Roles(bridge=True, worker=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(standing, "TURN_SECONDS", 0.1)


def scrape(here: Site) -> Callable[[], Awaitable[str]]:
    """From now on services of `here` serve metrics at a port of their own, which this reads."""
    address = f"127.0.0.1:{random_port()}"
    metrics = MetricsSettings(address=address)
    here.settings = here.settings.model_copy(update={"metrics": metrics})

    def read() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    async def page() -> str:
        with suppress(OSError):  # nobody listens yet
            return await asyncio.to_thread(read)
        return ""

    return page


def values(page: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (.*)$", page, re.MULTILINE)]


async def test_open_letters_and_parks_are_told_by_one_bridge_of_a_group_whoever_goes(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES, partitions=2) as here:
        first = scrape(here)
        async with here.running(BRIDGE):
            await here.until(lambda: told(first))
            second = scrape(here)
            async with here.running(BRIDGE):
                await here.until(lambda: shared(here))
                for place in [await here.send("unknown", {}, key=key) for key in "abc"]:
                    await here.outcomes(place)
                await here.outcomes(await here.send("told", {"id": "nobody"}, key="a"))

                async def one_tells() -> list[str]:
                    pages = [await first(), await second()]
                    telling = [page for page in pages if values(page, "turnout_open_letters") == [3]]
                    silent = [page for page in pages if values(page, "turnout_open_letters") == []]
                    both = len(telling) == len(silent) == 1
                    return telling if both and values(telling[0], "turnout_open_parks") == [1] else []

                (page,) = await here.until(one_tells)
                assert f'turnout_open_letters{{group="{here.group}"}} 3.0' in page

            async def still_told() -> bool:
                return values(await first(), "turnout_open_letters") == [3]

            await here.until(still_told)


async def told(page: Callable[[], Awaitable[str]]) -> bool:
    return values(await page(), "turnout_open_letters") == [0]


async def shared(here: Site) -> bool:
    return await here.members() == 2


async def test_the_same_page_has_what_temporals_client_counts_and_no_series_per_key_or_workflow(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with site(kafka, temporal.address, tmp_path, ROUTES) as here:
        page = scrape(here)
        async with here.running():
            await here.outcomes(await here.send("placed", {"id": "first"}, key="first"))
            await here.workflow("first").result()
            series = await here.until(lambda: with_results(page, 1))
            for place in [await here.send("placed", {"id": f"n-{n}"}, key=f"k-{n}") for n in range(20)]:
                await here.outcomes(place)
            for n in range(20):
                await here.workflow(f"n-{n}").result()
            more = await here.until(lambda: with_results(page, 21))
            names = set(re.findall(r"^# TYPE (\S+) ", more, re.MULTILINE))
            failing = {name for name in CORE if "fail" in name or "dropped" in name}
            assert set(CORE) - failing <= names
            for one in ("n-7", "k-7", "first", here.group + "/"):
                assert not re.search(rf'"[^"\n]*{re.escape(one)}[^"\n]*"', more), one
            ours = [text.count("\nturnout_") for text in (series, more)]
            assert ours[0] == ours[1]


async def with_results(page: Callable[[], Awaitable[str]], count: int) -> str:
    text = await page()
    done = sum(values(text, "temporal_workflow_completed_total"))
    all_there = len(values(text, "turnout_lag_records")) == 3
    return text if all_there and done >= count == sum(values(text, "turnout_publish_seconds_count")) else ""
