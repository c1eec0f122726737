"""From what contenders measured in each round to the rows of the table: ratios, their spread, targets."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.table import Table

from tests.bench.job import Figures

Name = tuple[str, str]
"""A workload and a contender."""

Round = Mapping[Name, Figures]
"""What was measured side by side, at about the same time."""

TIMES = "\N{MULTIPLICATION SIGN}"

Comparison = Callable[[Figures, Figures], float]


@dataclass(frozen=True, slots=True)
class Target:
    """What to reach: at least or at most `bound`, which `text` says in full."""

    kind: Literal["least", "most"]
    bound: float
    text: str

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.kind == "least" else value <= self.bound


@dataclass(frozen=True, slots=True)
class Measure:
    """How a row is made of one round; without a target it is for orientation.

    `baseline` None: the value is the product's alone. `product` None: it is not built yet.
    """

    name: str
    compare: Comparison
    product: Name | None
    baseline: Name | None = None
    target: Target | None = None

    @property
    def needs(self) -> frozenset[Name]:
        return frozenset(name for name in (self.product, self.baseline) if name)


@dataclass(frozen=True, slots=True)
class Row:
    """A measure over all rounds; `ratio` is the median, None where it is not built or was not measured."""

    name: str
    ratio: float | None
    min: float | None
    max: float | None
    target: str
    met: bool | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def ratio_of(figure: str) -> Comparison:
    return lambda product, baseline: product[figure] / baseline[figure]


def difference_of(figure: str) -> Comparison:
    return lambda product, baseline: product[figure] - baseline[figure]


def value_of(figure: str) -> Comparison:
    return lambda product, _: product[figure]


def least(bound: float, of: str) -> Target:
    return Target("least", bound, f"≥ {bound:g} {TIMES} {of}")


def most(bound: float, of: str) -> Target:
    return Target("most", bound, f"≤ {bound:g} {of}")


NOTHING: Figures = {}

MEASURES: Sequence[Measure] = (
    Measure(
        "starts accepted per second",
        ratio_of("rate"),
        ("starts", "turnout"),
        ("starts", "bare"),
        least(0.95, "bare SDK"),
    ),
    Measure(
        "start to result event per second",
        ratio_of("rate"),
        ("results", "turnout"),
        ("results", "bare"),
        least(0.95, "bare SDK"),
    ),
    Measure(
        "the same, eager start and local publish",
        ratio_of("rate"),
        ("results", "turnout-eager"),
        ("results", "bare"),
        least(1.5, "bare SDK"),
    ),
    Measure(
        "signals over 200 keys per second, batch off",
        ratio_of("rate"),
        ("signals-200", "turnout"),
        ("signals-200", "bare"),
        least(0.95, "bare SDK"),
    ),
    Measure(
        "signals over 200 keys per second, batch on",
        ratio_of("rate"),
        ("signals-200", "turnout-batch"),
        ("signals-200", "bare"),
        least(3, "bare SDK"),
    ),
    Measure(
        "signals on one hot key per second, in order, batch on",
        ratio_of("rate"),
        ("signals-hot", "turnout-batch"),
        ("signals-hot", "naive"),
        least(20, "naive bridge"),
    ),
    Measure(
        "latency record → started, p50, ms above bare",
        difference_of("p50_ms"),
        ("latency", "turnout"),
        ("latency", "bare"),
        most(3, "ms above bare SDK"),
    ),
    Measure(
        "latency record → started, p99, ms above bare",
        difference_of("p99_ms"),
        ("latency", "turnout"),
        ("latency", "bare"),
        most(10, "ms above bare SDK"),
    ),
    Measure(
        "the bridge's CPU per event, starts",
        ratio_of("cpu_ms_per_event"),
        ("starts", "turnout"),
        ("starts", "bare"),
        most(1.3, f"{TIMES} bare SDK"),
    ),
    Measure(
        "finished records repeated after SIGKILL",
        value_of("repeated"),
        ("restart", "turnout"),
        None,
        most(0, "of those finished"),
    ),
    Measure(
        "resident memory, Temporal away, peak MB",
        value_of("peak_mb"),
        ("memory", "turnout"),
        None,
        most(200, "MB"),
    ),
    Measure(
        "resident memory, Temporal away, MB grown",
        value_of("growth_mb"),
        ("memory", "turnout"),
        None,
        most(3, "MB (flat)"),
    ),
    # For orientation.
    Measure("naive bridge: starts per second", ratio_of("rate"), ("starts", "naive"), ("starts", "bare")),
    Measure(
        "starts per second without search attributes",
        ratio_of("rate"),
        ("starts", "turnout-plain"),
        ("starts", "bare"),
    ),
    Measure(
        "CPU per event, starts, without search attributes",
        ratio_of("cpu_ms_per_event"),
        ("starts", "turnout-plain"),
        ("starts", "bare"),
    ),
    Measure(
        "starts per second, bare SDK telling Temporal as much",
        ratio_of("rate"),
        ("starts", "turnout"),
        ("starts", "bare-dressed"),
    ),
    Measure(
        "CPU per event, starts, bare SDK telling Temporal as much",
        ratio_of("cpu_ms_per_event"),
        ("starts", "turnout"),
        ("starts", "bare-dressed"),
    ),
    # What a bare SDK comes to that tells Temporal as much: no client can be quicker and tell that.
    Measure(
        "bare SDK telling Temporal as much: starts per second",
        ratio_of("rate"),
        ("starts", "bare-dressed"),
        ("starts", "bare"),
    ),
    Measure(
        "bare SDK telling Temporal as much: CPU per start",
        ratio_of("cpu_ms_per_event"),
        ("starts", "bare-dressed"),
        ("starts", "bare"),
    ),
    Measure(
        "start to result per second without search attributes",
        ratio_of("rate"),
        ("results", "turnout-plain"),
        ("results", "bare"),
    ),
    Measure(
        "start to result per second, bare SDK telling Temporal as much",
        ratio_of("rate"),
        ("results", "turnout"),
        ("results", "bare-dressed"),
    ),
    Measure(
        "bare SDK telling Temporal as much: start to result per second",
        ratio_of("rate"),
        ("results", "bare-dressed"),
        ("results", "bare"),
    ),
    Measure(
        "latency of the naive bridge, p50, ms above bare",
        difference_of("p50_ms"),
        ("latency", "naive"),
        ("latency", "bare"),
    ),
    Measure(
        "hot key, batch on, against bare SDK one by one",
        ratio_of("rate"),
        ("signals-hot", "turnout-batch"),
        ("signals-hot", "bare-1"),
    ),
    Measure(
        "hot key, batch on, against bare SDK without order",
        ratio_of("rate"),
        ("signals-hot", "turnout-batch"),
        ("signals-hot", "bare"),
    ),
    Measure(
        "CPU per start, stub Temporal",
        ratio_of("cpu_ms_per_event"),
        ("stub-starts", "turnout"),
        ("stub-starts", "bare"),
    ),
    Measure(
        "CPU per signal, stub Temporal",
        ratio_of("cpu_ms_per_event"),
        ("stub-signals", "turnout"),
        ("stub-signals", "bare"),
    ),
    Measure(
        "CPU per signal, stub Temporal, batch on",
        ratio_of("cpu_ms_per_event"),
        ("stub-signals", "turnout-batch"),
        ("stub-signals", "bare"),
    ),
    Measure(
        "records repeated after SIGKILL without the offset map", value_of("repeated"), ("restart", "no-map")
    ),
)


def rows_of(rounds: Sequence[Round], workloads: frozenset[str], measures: Sequence[Measure]) -> list[Row]:
    """The rows of these workloads; of failed contenders no round counts."""
    return [
        _row(measure, rounds)
        for measure in measures
        if workloads & {workload for workload, _ in measure.needs}
    ]


def _row(measure: Measure, rounds: Sequence[Round]) -> Row:
    target = measure.target
    text = target.text if target else ""
    values = [_value(measure, one) for one in rounds if measure.product and measure.needs <= one.keys()]
    if not values:
        return Row(measure.name, None, None, None, text, False if target else None)
    median = statistics.median(values)
    met = target.met_by(median) if target else None
    return Row(measure.name, median, min(values), max(values), text, met)


def _value(measure: Measure, one: Round) -> float:
    assert measure.product is not None
    return measure.compare(one[measure.product], one[measure.baseline] if measure.baseline else NOTHING)


def table_of(rows: Sequence[Row], *, rounds: int) -> Table:
    """The rows for people."""
    table = Table(title=f"turnout, median of {rounds} rounds", title_justify="left")
    table.add_column("measure")
    table.add_column("ratio (min-max)", justify="right")
    table.add_column("target")
    table.add_column("met")
    for row in rows:
        table.add_row(row.name, _spread(row), row.target, _MET[row.met])
    return table


_MET = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def _spread(row: Row) -> str:
    if row.ratio is None or row.min is None or row.max is None:
        return "not built" if any(m.name == row.name and m.product is None for m in MEASURES) else "failed"
    return f"{_number(row.ratio)} ({_number(row.min)}-{_number(row.max)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def figures_table(rounds: Sequence[Round]) -> Table:
    """The medians behind the ratios."""
    names = list(dict.fromkeys(name for one in rounds for name in one))
    columns = ["rate", "p50_ms", "p99_ms", "cpu_ms_per_event", "rss_mb", "events_per_call"]
    table = Table(title="medians of what was measured", title_justify="left")
    for heading in ("workload", "contender"):
        table.add_column(heading)
    for heading in ("per s", "p50 ms", "p99 ms", "CPU ms/event", "RSS MB", "events/call"):
        table.add_column(heading, justify="right")
    for name in names:
        medians = medians_of(rounds, name)
        table.add_row(*name, *(_number(medians[c]) if c in medians else "" for c in columns))
    return table


def medians_of(rounds: Sequence[Round], name: Name) -> Figures:
    """The median of each figure of a contender."""
    found = [one[name] for one in rounds if name in one]
    return {figure: statistics.median(one[figure] for one in found) for figure in found[0]}
