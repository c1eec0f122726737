"""The finished offsets beyond the commit point, as text small enough for a commit's metadata.

`v1:` and Base64 (URL alphabet, no padding) of one byte that names the form and of the form itself:

* `r` run lengths: how many offsets from the commit point on are not finished, then how many are,
  and so on; each a varint (seven bits a byte, lowest first, top bit: one more follows).
* `b` a bitmap: bit n (lowest first) says that the offset n after the commit point is finished.
* `R`, `B` the same, deflated.

The shortest wins. The prefix makes it readable in consoles and safe beside what other tools write.
Only offsets that were delivered and finished are set: what lies between is never made up.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby

PREFIX = "v1:"
LIMIT_BYTES = 4_096
"""What brokers take (`offset.metadata.max.bytes`); some take more by mistake and lose it later."""

FARTHEST = 1 << 63
LONGEST_RANGE = 1 << 22
"""So many offsets a map may say when it is read, and so many a bitmap may span: a damaged one must not fill
the memory, nor a gap that compaction has left. Gaps may be of any size."""


def encode(point: int, finished: Iterable[int]) -> str:
    """The map of `finished` offsets, all of them beyond `point`; `""` where there are none."""
    offsets = sorted(finished)
    if not offsets:
        return ""
    runs = _runs(point, offsets)
    forms = [b"r" + runs, b"R" + zlib.compress(runs, 9)]
    if offsets[-1] - point < LONGEST_RANGE:
        bitmap = _bitmap(point, offsets)
        forms += [b"b" + bitmap, b"B" + zlib.compress(bitmap, 9)]
    return PREFIX + base64.urlsafe_b64encode(min(forms, key=len)).decode().rstrip("=")


def decode(point: int, text: str) -> frozenset[int]:
    """The finished offsets that `text` says, beyond `point`.

    Raises:
        ValueError: It is none of ours, or damaged.
    """
    if not text:
        return frozenset()
    if not text.startswith(PREFIX):
        raise ValueError("not a map of ours")
    packed = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        return frozenset(point + n for n in _relative(raw[:1], raw[1:]))
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"a damaged map: {error}") from error


def _relative(form: bytes, body: bytes) -> Iterator[int]:
    match form:
        case b"r":
            return _in_runs(body)
        case b"b":
            return _in_bitmap(body)
        case b"R":
            return _in_runs(_inflated(body))
        case b"B":
            return _in_bitmap(_inflated(body))
        case _:
            raise ValueError(f"a map of an unknown form: {form!r}")


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    raw = inflater.decompress(body, LONGEST_RANGE // 8)
    if inflater.unconsumed_tail or not inflater.eof:
        raise ValueError("a damaged map: its size")
    return raw


def _runs(point: int, offsets: list[int]) -> bytes:
    packed = bytearray()
    next_offset = point
    # Neighbours share the difference between their value and their place in the list.
    for _, group in groupby(enumerate(offsets), key=lambda pair: pair[1] - pair[0]):
        run = [offset for _, offset in group]
        packed += _varint(run[0] - next_offset) + _varint(len(run))
        next_offset = run[-1] + 1
    return bytes(packed)


def _in_runs(body: bytes) -> Iterator[int]:
    offset, count, finished = 0, 0, False
    for length in _varints(body):
        count += length if finished else 0
        if count > LONGEST_RANGE or offset + length > FARTHEST:
            raise ValueError("a damaged map: its range")
        if finished:
            yield from range(offset, offset + length)
        offset += length
        finished = not finished


def _bitmap(point: int, offsets: list[int]) -> bytes:
    bits = bytearray((offsets[-1] - point) // 8 + 1)
    for offset in offsets:
        place, bit = divmod(offset - point, 8)
        bits[place] |= 1 << bit
    return bytes(bits)


def _in_bitmap(body: bytes) -> Iterator[int]:
    return (8 * place + bit for place, byte in enumerate(body) for bit in range(8) if byte >> bit & 1)


def _varint(number: int) -> bytes:
    packed = bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _varints(body: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in body:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("a damaged map: its end is missing")
