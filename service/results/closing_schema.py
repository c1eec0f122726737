"""The data of the events that tell how workflows ended, as JSON Schema for those who subscribe."""

from collections.abc import Mapping
from typing import Any

from service.temporal.closed import STATUS

_FAILURE: dict[str, Any] = {
    "type": {"type": "string", "description": "The name of the error."},
    "text": {"type": "string", "description": "What it says, at most 8,000 characters."},
}

CLOSING_SCHEMA: Mapping[str, Any] = {
    "title": "WorkflowClosed",
    "description": "How a workflow ended, whatever language its worker is in.",
    "type": "object",
    "properties": {
        "workflow_id": {"type": "string", "description": "The id of the workflow, which is the key, too."},
        "run_id": {"type": "string", "description": "The run that ended: one event per run."},
        "namespace": {"type": "string", "description": "Its namespace."},
        "workflow": {"type": "string", "description": "Its type."},
        "status": {"type": "string", "enum": [*STATUS.values()], "description": "How it ended."},
        "closed_at": {"type": "string", "format": "date-time", "description": "When it ended."},
        "result": {"description": "What it returned, if it completed; null if that is nothing."},
        "result_left_out": {"type": "string", "description": "In its place: why the result is not here."},
        "failure": {
            "description": "Unless it completed: the outermost error, and what led to it down to the root.",
            "type": "object",
            "properties": {
                **_FAILURE,
                "causes": {
                    "type": "array",
                    "items": {"type": "object", "properties": _FAILURE, "required": [*_FAILURE]},
                },
            },
            "required": [*_FAILURE, "causes"],
        },
    },
    "required": ["workflow_id", "run_id", "namespace", "workflow", "status", "closed_at"],
    "oneOf": [{"required": [end]} for end in ("result", "result_left_out", "failure")],
    "if": {"properties": {"status": {"const": "completed"}}},
    "then": {"not": {"required": ["failure"]}},
    "else": {"required": ["failure"]},
}
