"""Reads what is asked, as strictly as records are read; what is wrong with it is said without its values."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.api.refusals import Kind, Refusal
from service.dispatch.contracts import without_payload
from service.errors import DecodeError
from service.events.json_schema import path_of
from service.events.strict_json import Limits, parse_json

M = TypeVar("M", bound=BaseModel)

PARTITION_KEY = "partitionkey"
"""The extension that says what a record's key is, by the partitioning extension of CloudEvents."""

KEY_PATTERN = "[!-~]{1,200}"
_KEY = re.compile(KEY_PATTERN)


def read_json(text: bytes, limits: Limits, what: str = "body") -> Any:
    """The value that JSON stands for, as strictly as in records.

    Raises:
        Refusal: It is no JSON, too large or too deep.
    """
    try:
        return parse_json(text, limits, what=what)
    except DecodeError as error:
        raise Refusal(Kind.INVALID_ARGUMENT, error.reason, error.cure or "") from error


def asked_as(model: type[M], values: Any) -> M:
    """`values` as what is asked.

    Raises:
        Refusal: They do not fit; the text says which and why, without values.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refusal(Kind.INVALID_ARGUMENT, _sentences(error)) from error


def checked_key(key: str) -> str:
    """`key`, if it can be an idempotency key: 1 to 200 printable characters of ASCII, no blanks.

    Raises:
        Refusal: It cannot.
    """
    if not _KEY.fullmatch(key):
        raise Refusal(
            Kind.INVALID_ARGUMENT,
            "the idempotency key is not 1 to 200 printable characters of ASCII without blanks",
            "use a UUID, for example",
        )
    return key


def _sentences(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    return "; ".join(f"{path_of(one['loc']) or 'the whole'}: {_said(one)}" for one in found)


def _said(error: ErrorDetails) -> str:
    # What our models say in their own words holds no values.
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return without_payload(error)
