"""What known workflows accept, checked before the call.

A worker silently drops a signal that it cannot decode, and a wrong number of arguments wedges
the workflow; so what would not be understood is refused here, where it still has a record.
"""

import typing
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType
from temporalio import workflow

from service.errors import RejectedError
from service.routing.commands import Command, Signal, Start

Parameters = Sequence[TypeAdapter[Any]] | None
"""One adapter per parameter; None takes whatever comes."""

OF_PAYLOADS = frozenset({"value_error", "assertion_error", "union_tag_invalid", "uuid_parsing"})
"""pydantic's errors whose text holds, or may hold, a value."""

WITHOUT_PAYLOADS = frozenset(typing.get_args(ErrorType)) - OF_PAYLOADS


class Misfit(NamedTuple):
    """Why an input does not fit, and the path of the first field that does not; `""` if it is the whole."""

    problem: str
    position: str = ""


class Contracts:
    """The inputs of the workflows whose classes we have; all others are not checked."""

    def __init__(self, workflows: Iterable[type]) -> None:
        self._starts: dict[str, Parameters] = {}
        self._signals: dict[str, dict[str, Parameters]] = defaultdict(dict)
        self._take_any_signal: set[str] = set()
        for definition in map(_definition, workflows):
            if definition.name:
                self._starts[definition.name] = _adapters(definition.arg_types)
                for name, signal in definition.signals.items():
                    if name is None:
                        self._take_any_signal.add(definition.name)
                    else:
                        self._signals[name][definition.name] = _adapters(signal.arg_types)

    def check(self, command: Command) -> None:
        """Pass `command`, or refuse it.

        Raises:
            RejectedError: Its input does not fit the workflow it is for.
        """
        match command:
            case Start():
                self._check_start(command.workflow, command.args)
            case Signal():
                if command.or_start:
                    self._check_start(command.or_start.workflow, command.or_start.args)
                self._check_signal(command)

    def _check_start(self, name: str, args: Sequence[Any]) -> None:
        if misfit := _misfit(self._starts.get(name), args):
            raise RejectedError(
                f"the input does not fit workflow {name}: {misfit.problem}", position=misfit.position
            )

    def _check_signal(self, signal: Signal) -> None:
        receivers: Mapping[str, Parameters] = self._signals.get(signal.name, {})
        if signal.or_start:
            name = signal.or_start.workflow
            if name not in self._starts:
                return  # what other workflows take under that signal's name says nothing of it
            receivers = {n: p for n, p in receivers.items() if n == name}
            if not receivers and name not in self._take_any_signal:
                raise RejectedError(f"workflow {name} has no signal named {signal.name}")
        # Which of several workflows has that id is not known here: one that fits is enough.
        misfits = [_misfit(parameters, signal.args) for parameters in receivers.values()]
        if misfits and (first := misfits[0]) and all(misfits):
            raise RejectedError(
                f"the input does not fit signal {signal.name}: {first.problem}", position=first.position
            )


def _definition(cls: type) -> Any:
    return workflow._Definition.must_from_class(cls)  # noqa: SLF001 - the SDK has no public word for it


def _adapters(arg_types: Sequence[type] | None) -> Parameters:
    if arg_types is None:  # as the SDK says `*args`
        return None
    # None: the parameter has no annotation.
    return [_adapter(kind) for kind in arg_types]


def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(Any if kind in (None, typing.Any, object) else kind)
    except PydanticSchemaGenerationError:  # a type that its own converter knows, and we do not
        return TypeAdapter(Any)


def _misfit(parameters: Parameters, args: Sequence[Any]) -> Misfit | None:
    if parameters is None:
        return None
    # Also where parameters have defaults: a worker ignores all types when the number differs.
    if len(args) != len(parameters):
        return Misfit(f"{len(args)} arguments, but it takes {len(parameters)}")
    for adapter, value in zip(parameters, args, strict=True):
        try:
            adapter.validate_json(orjson.dumps(value))
        except ValidationError as error:
            first, *_ = error.errors(include_url=False, include_context=False, include_input=False)
            return Misfit("; ".join(_sentences(error)), _path(first["loc"]))
    return None


def _sentences(error: ValidationError) -> Iterable[str]:
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        where = _path(one["loc"]) or "the whole"
        yield f"{where}: {one['msg'] if one['type'] in WITHOUT_PAYLOADS else one['type']}"


def _path(place: Sequence[int | str]) -> str:
    return ".".join(map(str, place))
