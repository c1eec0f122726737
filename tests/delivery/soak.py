"""`make soak MINUTES=n`: rounds with new seeds until the time is up; ends at the first that is broken.

`TURNOUT_SEED` sets the first seed; the next ones follow by one. The logs of a broken round stay.
"""

# ruff: noqa: T201 - talks to a terminal

import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from service.lifecycle import leave
from tests.delivery.rounds import Shape, play

# Parks that give up can take two minutes longer than all others: not in the short form.
SHAPE = Shape(seconds=150, keys=10, per_key=200, kinds_left=("stranded", "hurried"))


def main(minutes: float) -> int:
    """Play rounds for about `minutes`; 0 if the promise held in all of them."""
    # Taken away: the service's processes refuse settings that they do not know.
    seed = int(os.environ.pop("TURNOUT_SEED", "") or random.randrange(1 << 31))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the broker is away, it says
    deadline = time.monotonic() + minutes * 60
    held = 0
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"turnout-soak-{seed}-"))
        print(f"seed {seed}: make soak TURNOUT_SEED={seed} MINUTES=1; logs in {folder}", flush=True)
        verdict = asyncio.run(play(seed, folder, SHAPE))
        print(verdict, flush=True)
        if not verdict.held:
            print(f"{held} rounds held before it; the logs are in {folder}")
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        held, seed = held + 1, seed + 1
        if time.monotonic() > deadline:
            print(f"{held} rounds held")
            return 0


if __name__ == "__main__":
    leave(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10))
