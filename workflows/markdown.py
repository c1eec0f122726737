"""Texts of other people in what the Temporal UI shows: it reads summaries and details as Markdown.

An event's id may be `[refund](http://elsewhere)`, and must not become a link that an operator follows.
"""

import re

_MARKS = re.compile(r"([\\`*\[\]<>|~])")


def as_text(text: str) -> str:
    """`text` on one line, to be read as it is; also in a cell of a table."""
    return _MARKS.sub(r"\\\1", _line(text))


def as_code(text: str) -> str:
    """`text` on one line as code; not in a table, where `|` ends a cell even so."""
    return f"`{_line(text).replace('`', chr(39)) or ' '}`"


def _line(text: str) -> str:
    # Not printable: also what turns the direction of all that follows.
    return "".join(one if one.isprintable() else " " for one in text).strip()
