"""Rows are medians of ratios taken round by round, and say whether their target is met."""

import io
import json

import pytest
from rich.console import Console

from tests.bench.meter import Meter, quantile
from tests.bench.rows import (
    MEASURES,
    Measure,
    Row,
    Target,
    figures_table,
    least,
    most,
    ratio_of,
    rows_of,
    table_of,
    value_of,
)

PRODUCT, BASELINE = ("starts", "turnout"), ("starts", "bare")
FASTER = Measure("faster", ratio_of("rate"), PRODUCT, BASELINE, least(0.95, "bare SDK"))


def _round(product: float, baseline: float) -> dict[tuple[str, str], dict[str, float]]:
    return {PRODUCT: {"rate": product}, BASELINE: {"rate": baseline}}


def _rows(*rounds: dict[tuple[str, str], dict[str, float]], measure: Measure = FASTER) -> list[Row]:
    return rows_of(rounds, frozenset({"starts"}), [measure])


def test_a_ratio_compares_neighbours_in_time_and_its_median_counts() -> None:
    (row,) = _rows(_round(90, 100), _round(190, 200), _round(300, 300))
    assert (row.min, row.ratio, row.max) == (0.9, 0.95, 1.0)
    assert row.met


@pytest.mark.parametrize(
    ("target", "met"),
    [(least(2, ""), True), (least(2.1, ""), False), (most(2, ""), True), (most(1.9, ""), False)],
)
def test_a_target_is_a_floor_or_a_ceiling(target: Target, met: bool) -> None:
    (row,) = _rows(_round(20, 10), measure=Measure("", ratio_of("rate"), PRODUCT, BASELINE, target))
    assert row.met is met


def test_rounds_in_which_a_contender_failed_do_not_count() -> None:
    (row,) = _rows({PRODUCT: {"rate": 1}}, _round(10, 10))
    assert row.ratio == 1.0


def test_what_was_never_measured_or_is_not_built_has_not_met_its_target() -> None:
    (failed,) = _rows({PRODUCT: {"rate": 1}})
    (unbuilt,) = _rows(
        _round(1, 1), measure=Measure("", ratio_of("rate"), None, BASELINE, least(1.5, "bare SDK"))
    )
    assert [(row.ratio, row.met) for row in (failed, unbuilt)] == [(None, False), (None, False)]


def test_a_row_without_a_target_is_neither_met_nor_missed() -> None:
    (row,) = _rows(_round(1, 1), measure=Measure("", value_of("rate"), PRODUCT))
    assert (row.ratio, row.target, row.met) == (1, "", None)


def test_rows_of_workloads_that_did_not_run_are_left_out() -> None:
    assert rows_of([_round(1, 1)], frozenset({"memory"}), [FASTER]) == []


def test_every_measure_has_a_name_of_its_own() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


def test_a_row_is_written_as_the_issue_says() -> None:
    (row,) = _rows(_round(1, 1))
    written = json.loads(json.dumps(row.as_json()))
    assert list(written) == ["name", "ratio", "min", "max", "target", "met"]


def test_tables_show_the_ratio_its_spread_and_the_figures_behind_it() -> None:
    console = Console(file=io.StringIO(), width=200)
    rounds = [_round(90, 100), _round(96, 100)]
    console.print(table_of(_rows(*rounds), rounds=2), figures_table(rounds))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "0.93 (0.90-0.96)" in text
    assert "93.00" in text


def test_a_meter_counts_events_not_calls_and_leaves_the_warm_ones_out() -> None:
    meter = Meter(warm=4, count=6)
    meter.taken()
    for seconds in (9.0, 9.0, 0.001, 0.002, 0.003):
        assert not meter.done.is_set()
        meter.accepted(seconds, events=2)
    assert meter.done.is_set()
    figures = meter.figures()
    assert figures["events_per_call"] == 2
    assert (figures["p50_ms"], figures["p99_ms"]) == (2, 3)


def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = list(map(float, range(1, 101)))
    assert [quantile(values, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert quantile([7.0], 0.99) == 7
