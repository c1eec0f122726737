"""Whatever is killed, frozen, cut off or repeated: nothing is lost, made up, done twice or out of order."""

import sys
from pathlib import Path

import pytest

from tests.delivery.rounds import Shape, play
from tests.servers import why_no_apache_kafka

pytestmark = pytest.mark.delivery

SHORT = Shape(seconds=60, keys=8, per_key=60)


async def test_nothing_is_lost_made_up_done_twice_or_out_of_order_through_crashes(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing := why_no_apache_kafka():
        pytest.skip(f"needs {missing}")
    # Seen also when the test hangs, and where the standard output of a process that shares the tests is not.
    with capsys.disabled():
        print(f"\nTURNOUT_SEED={seed}", file=sys.stderr, flush=True)  # noqa: T201
    verdict = await play(seed, tmp_path, SHORT)
    with capsys.disabled():
        print(verdict, file=sys.stderr, flush=True)  # noqa: T201
    assert verdict.caught_up
    assert not verdict.defects
    assert not verdict.report.faults
    # No proof unless there was something to prove.
    assert verdict.report.lost.of > SHORT.keys * SHORT.per_key / 2
    assert verdict.report.by_park.count > SHORT.keys
    assert min(verdict.report.parked.count, verdict.report.letters.count, verdict.report.skipped.count) > 0
    assert len(verdict.faults) > 10
