"""Whatever is written as a time or a span in an option: it means one, or the option is refused."""

from datetime import datetime, timedelta

import typer
from hypothesis import example, given
from hypothesis import strategies as st

from service.cli.moments import moment_of
from service.durations import parse_duration
from tests.fuzz.effort import effort
from tests.fuzz.mutations import ODD_TEXTS, changed

TEXTS = changed(
    ["2h", "36525d", "P1DT2H3M4.5S", "2026-01-31T12:00:00.123Z", "0001-01-01T00:00:00+23:59"], ODD_TEXTS
)


@effort(150)
@given(TEXTS | st.text(max_size=30))
@example("999999999d")
@example("٣h")
@example("9999-12-31T23:59:60-23:59")
@example("0000-00-00T00:00:00Z")
def test_every_text_is_a_moment_a_span_or_refused(text: str) -> None:
    span = parse_duration(text)
    assert span is None or timedelta() <= span <= timedelta(days=36_525)
    try:
        moment = moment_of(text, "--since")
    except typer.BadParameter:
        return
    assert moment is None or (isinstance(moment, datetime) and moment.tzinfo)
    assert (moment is None) is (text == "")
