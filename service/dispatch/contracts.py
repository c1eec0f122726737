"""What known workflows accept, checked before the call.

A worker silently drops a signal that it cannot decode, and a wrong number of arguments wedges
the workflow; so what would not be understood is refused here, where it still has a record.
"""

import inspect
import typing
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType
from temporalio import workflow

from service.errors import RejectedError
from service.events.json_schema import path_of
from service.routing.commands import Command, Signal, Start
from service.routing.contract import Contract, Misfit

Parameters = Sequence[TypeAdapter[Any]] | None
"""One adapter per parameter; None takes whatever comes."""

OF_PAYLOADS = frozenset({"value_error", "assertion_error", "union_tag_invalid", "uuid_parsing"})
"""pydantic's errors whose text holds, or may hold, a value."""

WITHOUT_PAYLOADS = frozenset(typing.get_args(ErrorType)) - OF_PAYLOADS


class Contracts:
    """The inputs of the workflows whose classes we have, and what routes say of theirs; others pass."""

    def __init__(self, workflows: Iterable[type]) -> None:
        self._starts: dict[str, Parameters] = {}
        self._signals: dict[str, dict[str, Parameters]] = defaultdict(dict)
        self._take_any_signal: set[str] = set()
        self._updates: dict[str, list[inspect.Signature]] = defaultdict(list)
        for definition in map(_definition, workflows):
            if definition.name:
                self._starts[definition.name] = _adapters(definition.arg_types)
                for name, signal in definition.signals.items():
                    if name is None:
                        self._take_any_signal.add(definition.name)
                    else:
                        self._signals[name][definition.name] = _adapters(signal.arg_types)
                for name, update in definition.updates.items():
                    if name is not None:
                        self._updates[name].append(inspect.signature(update.fn))

    @property
    def workflow_names(self) -> Collection[str]:
        """The workflows whose inputs are known."""
        return self._starts.keys()

    @property
    def signal_names(self) -> Collection[str]:
        """All signals of those workflows."""
        return self._signals.keys()

    def check(self, command: Command) -> None:
        """Pass `command`, or refuse it.

        Raises:
            RejectedError: Its input does not fit the workflow it is for.
        """
        match command:
            case Start():
                self._check_start(command.workflow, command.args, command.contract)
            case Signal():
                if command.or_start:
                    started = command.or_start
                    self._check_start(started.workflow, started.args, started.contract)
                self._check_signal(command)

    def check_update(self, name: str, args: Sequence[Any]) -> None:
        """Pass an update, or refuse it if none that we know by that name takes so many arguments.

        The worker itself refuses what has the wrong type.

        Raises:
            RejectedError: It would hold up its workflow.
        """
        known = self._updates.get(name, [])
        if known and not any(_takes(one, args) for one in known):
            takes = len(known[0].parameters) - 1
            raise RejectedError(
                f"the input does not fit update {name}: {len(args)} arguments, but it takes {takes}"
            )

    def of_workflow(self, name: str) -> Parameters:
        """What workflow `name` takes; None where we do not know it, or it takes whatever comes."""
        return self._starts.get(name)

    def of_signal(self, name: str, workflow: str | None = None) -> Sequence[Parameters]:
        """What those take that have the signal `name`, or `workflow` alone; nothing where we do not know it.

        Raises:
            RejectedError: We know that workflow, and it has no such signal.
        """
        receivers: Mapping[str, Parameters] = self._signals.get(name, {})
        if workflow is None:
            return [*receivers.values()]
        if workflow not in self._starts:
            return ()  # what other workflows take under that signal's name says nothing of it
        if workflow not in receivers and workflow not in self._take_any_signal:
            raise RejectedError(f"workflow {workflow} has no signal named {name}")
        return [receivers[workflow]] if workflow in receivers else ()

    def signals_of(self, workflow: str) -> Sequence[str]:
        """The names of the signals that `workflow` has, if we know it."""
        return [name for name, receivers in self._signals.items() if workflow in receivers]

    def _check_start(self, name: str, args: Sequence[Any], contract: Contract | None) -> None:
        if misfit := _misfit(self.of_workflow(name), args):
            raise _does_not_fit(f"workflow {name}", misfit)
        _check_contract(contract, f"workflow {name}", args)

    def _check_signal(self, signal: Signal) -> None:
        receivers = self.of_signal(signal.name, signal.or_start.workflow if signal.or_start else None)
        # Which of several workflows has that id is not known here: one that fits is enough.
        misfits = [_misfit(parameters, signal.args) for parameters in receivers]
        if misfits and (first := misfits[0]) and all(misfits):
            raise _does_not_fit(f"signal {signal.name}", first)
        _check_contract(signal.contract, f"signal {signal.name}", signal.args)


def _takes(method: inspect.Signature, args: Sequence[Any]) -> bool:
    try:
        method.bind(None, *args)
    except TypeError:
        return False
    return True


def _check_contract(contract: Contract | None, of: str, args: Sequence[Any]) -> None:
    if contract and (misfit := contract.misfit(args)):
        raise _does_not_fit(f"the contract of {of}", misfit)


def _does_not_fit(what: str, misfit: Misfit) -> RejectedError:
    return RejectedError(f"the input does not fit {what}: {misfit.problem}", position=misfit.position)


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
            return Misfit("; ".join(_sentences(error)), path_of(first["loc"]))
    return None


def _sentences(error: ValidationError) -> Iterable[str]:
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        where = path_of(one["loc"]) or "the whole"
        yield f"{where}: {without_payload(one)}"


def without_payload(error: ErrorDetails) -> str:
    """What pydantic says is wrong, without the value that is."""
    return error["msg"] if error["type"] in WITHOUT_PAYLOADS else error["type"]
