"""`make fuzz MINUTES=n`: the fuzz tests with many more examples and new seeds, until the time is up.

Ends at the first failure, with the seed of its round and the example; what fails goes into the tests as an
explicit example.
"""

# ruff: noqa: T201 - talks to a terminal

import os
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

EXAMPLES = 500
LONGEST_ROUND = timedelta(minutes=30)
HERE = Path(__file__).parent


def main(minutes: float) -> int:
    """Play rounds for about `minutes`; 0 if nothing was found."""
    deadline, rounds = time.monotonic() + minutes * 60, 0
    while True:
        seed = random.randrange(1 << 31)
        print(
            f"seed {seed}: FUZZ_EXAMPLES={EXAMPLES} pytest -n0 tests/fuzz --hypothesis-seed={seed}",
            flush=True,
        )
        argv = [
            "-m",
            "pytest",
            "-n0",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            f"--hypothesis-seed={seed}",
            str(HERE),
        ]
        # A process of its own: what kills the engine, or keeps it busy, ends the round and not the loop.
        code = subprocess.call(
            [sys.executable, *argv],
            env=os.environ | {"FUZZ_EXAMPLES": str(EXAMPLES)},
            timeout=LONGEST_ROUND.total_seconds(),
        )
        if code:
            print(f"{rounds} rounds found nothing before it")
            return 1
        rounds += 1
        if time.monotonic() > deadline:
            print(f"{rounds} rounds of {EXAMPLES} examples for each property found nothing")
            return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10))
