"""`python -m tests.console`, or `make console`: look at each page in headless Chromium, keep a picture."""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from playwright.async_api import Browser, Error, async_playwright
from playwright.async_api import Page as View
from rich.console import Console
from temporalio.client import Client

from service.lifecycle import leave
from tests.console.pages import PAGES, Page
from tests.console.scenes import Shown, scenes

PICTURES = Path(__file__).parents[2] / "docs" / "console"
PATIENCE = 30.0
ALL_IT_SAYS = """() => [
    document.body.textContent,
    ...[...document.querySelectorAll("a")].map(link => link.href),
    ...[...document.querySelectorAll("input, textarea")].map(field => field.value),
].join("\\n")"""
WITHOUT_VALUES = """() => {
    const heading = [...document.querySelectorAll("h2, h3")].find(one => /Timeline/.test(one.textContent));
    for (let part = heading; part; part = part.parentElement)
        for (let other = part.previousElementSibling; other; other = other.previousElementSibling)
            if (/Input.*Result/s.test(other.textContent) && !/Event History/.test(other.textContent))
                return other.style.display = "none";
}"""
"""Input and result fold away: a timeline is what its picture is of, and a failure names its files."""
LARGEST_PICTURE = 150_000
"""Bytes: they come with each clone."""


def main() -> None:
    """Exit 0 if each page says what it must."""
    parser = argparse.ArgumentParser(prog="make console ARGS=...", description=__doc__)
    parser.add_argument("--only", action="append", help="this page; may be repeated")
    only = parser.parse_args().only
    pages = [page for page in PAGES if not only or page.name in only]
    folder = Path(tempfile.mkdtemp(prefix="turnout-console-"))
    failures = asyncio.run(_look(folder, pages, Console()))
    if not failures:
        shutil.rmtree(folder, ignore_errors=True)
    leave(1 if failures else 0)


async def _look(folder: Path, pages: Sequence[Page], console: Console) -> int:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        console.print("make console needs Chromium: apt-get install chromium")
        return 1
    failures = 0
    async with scenes(folder) as stage, async_playwright() as playwright:
        # Without its sandbox, which root cannot have; it sees pages of this machine only.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for page in pages:
            missing = await _visit(browser, stage, page)
            failures += bool(missing)
            console.print(f"{page.name}: " + (f"does not say {missing}" if missing else "as it must be"))
        await browser.close()
    return failures


async def _visit(browser: Browser, stage: Shown, page: Page) -> Sequence[str]:
    """Show the page until it says all that it must; returns what it does not say in the end."""
    client = await Client.connect(stage.servers.temporal.address)
    run_id = (await client.get_workflow_handle(page.workflow).describe()).run_id if page.workflow else ""
    view = await browser.new_page(viewport={"width": 1280, "height": 800})
    await view.goto(stage.servers.temporal.ui_url + page.path(run_id))
    if page.press:
        await view.get_by_role("button", name=page.press).click()
    end = time.monotonic() + PATIENCE
    while missing := _not_in(await _text(view), page.says):
        if time.monotonic() > end:
            break
        await asyncio.sleep(0.2)
    await view.evaluate(WITHOUT_VALUES)
    await view.wait_for_timeout(500)  # what moves comes to rest
    picture = PICTURES / f"{page.name}.png"
    picture.parent.mkdir(exist_ok=True)
    await view.screenshot(path=picture)
    await view.close()
    if picture.stat().st_size > LARGEST_PICTURE:
        missing = [*missing, f"its picture has more than {LARGEST_PICTURE} bytes"]
    return missing


async def _text(view: View) -> str:
    """What stands on the page and in its frames: Markdown is shown in frames of its own."""
    said = ""
    for frame in view.frames:
        with suppress(Error):  # it was just replaced by a newer one
            said += await frame.evaluate(ALL_IT_SAYS)
    return said


def _not_in(text: str, says: Sequence[str]) -> Sequence[str]:
    return [one for one in says if one.casefold() not in text.casefold()]


if __name__ == "__main__":
    main()
