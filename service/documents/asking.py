"""What a route asks for, before any event: by what its file says, with the expressions in it."""

from collections.abc import Iterator

from service.documents.plain import plain
from service.expressions import Template
from service.routing.grammar import RouteKeys, WhereKeys


def written(value: object) -> str:
    """What stands in the file where an event may decide, in one line."""
    if isinstance(value, WhereKeys):
        return "whose " + " and ".join(f"{name} is {written(text)}" for name, text in value.where.items())
    return plain(value.source if isinstance(value, Template) else str(value)).replace("\t", " ")


def asked(keys: RouteKeys) -> str:
    """What the route does, in a few words: `starts OrderFulfilment order/${data.id} on orders`."""
    return "".join(_asked(keys))


def _asked(keys: RouteKeys) -> Iterator[str]:
    if start := keys.start:
        yield f"starts {written(start.workflow)} {written(start.id)} on {written(start.task_queue)}"
    if signal := keys.signal:
        yield f"signals {written(signal.name)} to {written(signal.to)}"
        if signal.or_start:
            yield f", or starts {written(signal.or_start.workflow)} on {written(signal.or_start.task_queue)}"
    if cancel := keys.cancel:
        yield f"cancels {written(cancel.to)}"
    if complete := keys.complete:
        yield f"completes a call with {'an error' if complete.error else 'a result'}"
    action = keys.start or keys.signal or keys.cancel
    if action and action.namespace:
        yield f" in namespace {written(action.namespace)}"
