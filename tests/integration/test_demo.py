"""The demo, as someone without a terminal would see it."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def left_behind() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("turnout-demo-*"))


def test_the_demo_keeps_what_it_promises_and_leaves_nothing_behind() -> None:
    before = left_behind()
    argv = [sys.executable, "-m", "deploy.demo", "--orders", "20"]
    done = subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sent 20  fulfilled 20  lost 0  twice 0" in done.stdout
    assert re.search(r"duplicate: workflow order/A-1001 \(started by shop.orders\[\d\]@\d+\)", done.stdout)
    assert "A-1005: a broken record became a letter" in done.stdout
    assert done.stderr == ""
    assert left_behind() == before
