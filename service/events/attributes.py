"""What the attributes of an event may be: names, texts, and those a CloudEvent must have.

Source: spec.md of CloudEvents 1.0.2, sections Naming Conventions, Type System and Context Attributes.
"""

import re
from collections.abc import Mapping

from service.errors import DecodeError
from service.events.timestamps import is_rfc_3339

CORE = frozenset(("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"))
"""The attributes of the specification; all others are extensions."""

_REQUIRED = ("specversion", "id", "source", "type")
_NAME = re.compile(r"[a-z0-9]+")
# The last two code points of each plane are noncharacters, and so are U+FDD0 to U+FDEF.
_PLANE_ENDS = "".join(chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_PLANE_ENDS}]")


def is_attribute_name(name: str) -> bool:
    """Whether `name` may name an attribute; more than 20 characters are only advised against."""
    return name != "data" and _NAME.fullmatch(name) is not None


def is_attribute_text(text: str) -> bool:
    """Whether `text` may be an attribute: no control characters, no noncharacters."""
    # isprintable() is quick, true for nearly all attributes and false for all forbidden ones.
    return text.isprintable() or _FORBIDDEN.search(text) is None


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Check the attributes that are set, except that URIs may be any text.

    The specification wants a URI reference as `source`. Nothing here depends on its syntax, and
    producers that send a plain name there are many.

    Raises:
        DecodeError: They are not those of a CloudEvent 1.0.
    """
    for name in _REQUIRED:
        if name not in attributes:
            raise DecodeError(f"attribute {name} is missing")
    for name, text in attributes.items():
        if not text and name in CORE:
            raise DecodeError(f"attribute {name} is empty")
        if not is_attribute_text(text):
            raise DecodeError(f"attribute {name} holds a control character or a noncharacter")
    if attributes["specversion"] != "1.0":
        raise DecodeError("attribute specversion is not 1.0")
    if "time" in attributes and not is_rfc_3339(attributes["time"]):
        raise DecodeError("attribute time is not RFC 3339")
