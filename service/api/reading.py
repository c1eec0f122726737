"""Reads what is asked, as strictly as records are read; what is wrong with it is said without its values."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from service.api.refusals import Kind, Refusal
from service.dispatch.contracts import without_payload
from service.errors import DecodeError, RouteError
from service.events.json_schema import path_of
from service.events.strict_json import Limits, parse_json
from service.expressions import checked_id

M = TypeVar("M", bound=BaseModel)


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
    """`key`, if it can be an idempotency key: as ids can be.

    Raises:
        Refusal: It cannot.
    """
    try:
        return checked_id(key, "the idempotency key")
    except RouteError as error:
        raise Refusal(Kind.INVALID_ARGUMENT, str(error)) from error


def _sentences(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    return "; ".join(f"{path_of(one['loc']) or 'the whole'}: {without_payload(one)}" for one in found)
