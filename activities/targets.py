"""What a target is called that is looked for, since its id is not known."""

from collections.abc import Mapping


def target_of(workflow_id: str, where: Mapping[str, str] | None) -> str:
    """The id of a workflow, or where there is none, what is looked for: `where/OrderNumber=A-1`.

    It never changes: the ids of parks are made of it.
    """
    if not where:
        return workflow_id
    return "where/" + ",".join(f"{name}={value}" for name, value in sorted(where.items()))
