"""Strategies that start from what is right, and make something else of it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = [
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\u0085",
        "\u2028",
        "\ufeff",
        "\uffff",
        "\ud800",
        "\x7f",
        "é",
        "😀",
        "\u202e",
    ),
    *(
        "${",
        "}",
        "$${",
        "${data}",
        "${data.x}",
        "'",
        '"',
        "\\",
        "#",
        " #",
        ": ",
        "- ",
        "? ",
        "{",
        "[",
        "]",
        ",",
    ),
    *(
        "&a ",
        "*a",
        "<<: *a",
        "!x ",
        "!!binary ",
        "!!int ",
        "|",
        ">-",
        "%YAML 1.1\n---\n",
        "---\n",
        "...\n",
        "~",
    ),
    *(
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        ".nan",
        "0x10",
        "0o7",
        "1_000",
        "9" * 19,
        "9" * 40,
        "1:30",
        "2026-01-31",
    ),
]
"""What texts, JSON and YAML are full of traps for."""

ODD_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            1.5,
            2**63 - 1,
            -(2**63),
            1e308,
            "",
            "x",
            "\0",
            "é" * 300,
            [],
            {},
            [[]],
            [{}],
        ),
        *(
            {"": ""},
            "${data}",
            "${data.x}/${",
            "$${x}",
            ["${data.a}"],
            {"where": {"A": "b"}},
            {"park": "1s"},
            "30s",
        ),
    ]
)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(ODD_TEXTS),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=15,
)


@st.composite
def changed(draw: st.DrawFn, texts: Sequence[str], words: Sequence[str]) -> str:
    """One of `texts` with some pieces cut out, doubled, moved, or replaced by odd ones or by `words`."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        odd = draw(st.sampled_from([*ODD_TEXTS, *words]) | st.text(max_size=5))
        match draw(st.integers(0, 5)):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:end] + text[start:]
            case 2:
                text = text[:start] + odd + text[end:]
            case 3:
                text = text[:start] + odd + text[start:]
            case 4:
                text = text[:end] + text[start:end] * draw(st.integers(1, 200)) + text[end:]
            case _:
                lines = text.split("\n")
                at, to = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines.insert(to, lines.pop(at))
                text = "\n".join(lines)
    return text


@st.composite
def altered(draw: st.DrawFn, values: Sequence[Any]) -> Any:
    """One of `values`, plain JSON, with some of its parts taken away, renamed, moved or replaced."""
    value = draw(st.sampled_from(values))
    for _ in range(draw(st.integers(1, 4))):
        value = _with_a_change(draw, value)
    return value


def _with_a_change(draw: st.DrawFn, value: Any) -> Any:  # noqa: PLR0911 - one for each change
    deeper = isinstance(value, dict | list) and value and draw(st.integers(0, 3))
    if not deeper:
        return draw(ODD_VALUES | JSON)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                return [*value[:at], *value[at + 1 :]]
            case 1:
                return [*value, value[at]]
            case _:
                return [*value[:at], _with_a_change(draw, value[at]), *value[at + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    rest = {name: item for name, item in value.items() if name != key}
    match draw(st.integers(0, 4)):
        case 0:
            return rest
        case 1:
            return rest | {draw(st.sampled_from([*ODD_TEXTS, *value]) | st.text(max_size=5)): value[key]}
        case _:
            return rest | {key: _with_a_change(draw, value[key])}
