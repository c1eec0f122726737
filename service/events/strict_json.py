"""JSON as the service accepts it: UTF-8, within limits, never rounded."""

import json
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import orjson

from service.errors import DecodeError

_INTEGERS = range(-(2**63), 2**63)
_SHORTEST_LARGE_INTEGER = b"0" * 19
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
# Possessive, so that no input makes it go back; the closing quote is optional, so that a string
# without an end hides everything after it, as it does for a parser.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_STRINGS = re.compile(_STRING, re.DOTALL)
_NUMBERS = re.compile(_STRING + rb"|(-?[0-9][0-9.eE+-]*+)", re.DOTALL)
_INTEGER = re.compile(rb"-?[0-9]+")
_NESTING = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(set(range(256)) - _NESTING.keys())


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a value may be and how many arrays and objects may lie inside each other."""

    value_bytes: int = 1024 * 1024
    depth: int = 64


def parse_json(text: bytes, limits: Limits, *, what: str = "value") -> Any:
    """Parse `text`, whose size and depth are checked before, and whose integers fit 64 bits.

    A byte order mark, NaN, Infinity, a number too large for a double and a lone surrogate are
    refused. Of members of one name the last counts, which RFC 8259 (section 4) leaves open: to
    find them would need a second, slower parser for each record.

    Args:
        text: JSON in UTF-8.
        limits: What `text` must stay within.
        what: What `text` is, for the error.

    Raises:
        DecodeError: It is not such JSON; the text says where, without payload values.
    """
    check_size(text, limits, what=what)
    if _exceeds_depth(text, limits.depth):
        raise DecodeError(f"the {what} is nested deeper than {limits.depth} levels")
    refuse_large_integers(text, what=what)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _not_json(text, what, error) from error


def check_size(encoded: bytes, limits: Limits, *, what: str = "value") -> None:
    """Refuse what is larger than `limits` say.

    Raises:
        DecodeError: It is; the text says by how much.
    """
    if len(encoded) > limits.value_bytes:
        raise DecodeError(f"the {what} has {len(encoded)} bytes, more than {limits.value_bytes}")


def encode_json(data: Any) -> bytes:
    """`data` in JSON that `parse_json` takes.

    Raises:
        ValueError: It holds NaN, infinity or an integer beyond 64 bits.
    """
    # Not orjson, which writes null for NaN.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    try:
        refuse_large_integers(text, what="data")
    except DecodeError as error:
        raise ValueError(f"it is no JSON that all read: {error}") from error
    return text


def refuse_large_integers(text: bytes, *, what: str = "value") -> None:
    """Refuse JSON with an integer beyond signed 64 bits, which orjson turns into a float.

    A number with a fraction or an exponent is a float by intent and passes.

    Raises:
        DecodeError: There is one; the text says where.
    """
    # Nearly every record ends here, at a tenth of the price of looking at its numbers.
    if not _has_many_digits(text) or not _has_many_digits(_STRINGS.sub(b"", text)):
        return
    for match in _NUMBERS.finditer(text):
        number = match[1]
        if number and _INTEGER.fullmatch(number) and not _fits(number):
            position = match.start(1)
            raise DecodeError(
                f"an integer of the {what} at byte {position} is beyond 64 bits",
                cure="send it as a string",
                position=_position(what, position),
            )


def _has_many_digits(text: bytes) -> bool:
    return _SHORTEST_LARGE_INTEGER in text.translate(_DIGITS_AS_ZEROS)


def _fits(integer: bytes) -> bool:
    # By length first: int() refuses more than 4,300 digits.
    return len(integer) <= len("-9223372036854775808") and int(integer) in _INTEGERS


def _exceeds_depth(text: bytes, depth: int) -> bool:
    if text.count(b"[") + text.count(b"{") <= depth:
        return False  # as deep as possible would not be too deep
    brackets = _STRINGS.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_NESTING.__getitem__, brackets)), default=0) > depth


def _not_json(text: bytes, what: str, error: orjson.JSONDecodeError) -> DecodeError:
    # orjson points at the start of the string, not at the byte that is wrong.
    try:
        characters = text.decode()
    except UnicodeDecodeError as broken:
        reason = f"the {what} is not UTF-8 at byte {broken.start}"
        return DecodeError(reason, position=_position(what, broken.start))
    position = len(characters[: error.pos].encode())
    return DecodeError(f"the {what} is not JSON: {error}", position=_position(what, position))


def _position(what: str, byte: int) -> str:
    return f"byte {byte}" if what == "value" else f"byte {byte} of the {what}"
