"""Text of others in one line."""


def plain(text: str) -> str:
    """`text` in one line; what a terminal or a page would obey, or break the line at, as an escape."""
    return "".join(
        one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode() for one in text
    )
