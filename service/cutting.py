"""Texts that have to fit into a number of bytes."""


def cut(text: str, most_bytes: int) -> str:
    """`text`, or as much of its beginning as fits into `most_bytes` of UTF-8: whole characters.

    Lone surrogates, which UTF-8 has no bytes for, become question marks.
    """
    if text.isascii():
        return text[:most_bytes]
    return text.encode(errors="replace")[:most_bytes].decode(errors="ignore")
