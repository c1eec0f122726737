"""What the quick reader of YAML reads, the exact one reads alike, and has nothing against."""

from pathlib import Path

import pytest
from hypothesis import assume, example, given

from service.routing import reading
from service.routing.quick_reading import UnusualError, quick_values
from service.routing.table import load_routes
from tests.fuzz.effort import effort
from tests.fuzz.mutations import changed
from tests.fuzz.test_files import ROUTE, WORDS
from tests.fuzz.test_records import ROUTES

SHOP = "\n".join(file.read_text() for file in sorted(Path("deploy/demo/routes").glob("*.yaml"))[:1])
PLAIN = "a: {0}\nb: [{0}, x: {0}]\nc:\n- {0}\n"


def quickly(text: str) -> object:
    return quick_values(text, reading.SCALARS, reading.MAX_LEVELS)


@effort(80)
@given(changed([ROUTE, ROUTES, SHOP], WORDS))
@example(PLAIN.format("yes"))
@example(PLAIN.format("012"))
@example(PLAIN.format("1:30"))
@example(PLAIN.format("0o14"))
@example(PLAIN.format("2026-01-31"))
@example(PLAIN.format("=") + "<<: {a: 1}\n")
@example(PLAIN.format("~") + "'': \n: x\n")
@example(PLAIN.format("a#b"))
@example("a: |2+\n    x\n\n\nb: >-\n  x\n\n  y\n   z\n")
@example("a: \"x\\\n   y\\u00e9 \n\n z\"\nb: 'it''s\n  so'\n")
@example("--- # first\r\na: 1\r\n...\r\n")
def test_both_readers_read_the_same(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        values = quickly(text)
    except UnusualError:
        assume(False)
    file = tmp_path_factory.mktemp("yaml") / "a.yaml"
    assert repr(reading.exactly(file, text).values) == repr(values)
    assert not reading.exactly(file, text).findings


@pytest.mark.parametrize(
    "text",
    [
        "a: x\ty",
        "a: x\x85b: y",
        "a: x\u2028b: y",
        "a: x\rb: y",
        "\ufeffa: x",
        "%YAML 1.1\n---\na: yes",
        "a: 1\n---\nb: 2",
        "a: &x 1\nb: *x",
        "a: &x {b: 1}",
        "a: !!str 1",
        "a: !x [1]",
        "!x a: 1",
        "a: 1\na: 2",
        "[a]: 1",
        "a: 99999999999999999999",
        "a: .nan",
        "a: " + "[" * 65 + "]" * 65,
        "a: " + "[" * 100_000,
        "a: '",
        "",
        "# nothing\n",
    ],
)
def test_the_unusual_is_left_to_the_exact_reader(text: str) -> None:
    with pytest.raises(UnusualError):
        quickly(text)


def test_usual_files_are_read_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "exactly", None)
    (tmp_path / "a.yaml").write_text(ROUTE)
    assert [route.name for route in load_routes(tmp_path).routes] == ["placed", "gone"]
