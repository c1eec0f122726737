"""How values are written in a route file, as JSON Schema: what an editor knows before the loader judges.

Never stricter than the loader: what only it can tell (CEL, ids, limits in bytes) is left to it. `title` says
in a few words what a value is.
"""

from typing import Any

from service.durations import PATTERN
from service.routing.commands import Rule

Written = dict[str, Any]

SAYS = "errorMessage"
"""What editors with the YAML language server say in place of their own words; others pass over it."""

NO_EXPRESSION = r"^(?![\s\S]*\$\{)[\s\S]+$"

TEXT: Written = {"title": "text with `${…}`", "type": "string", "minLength": 1}
LITERAL: Written = {
    "title": "text",
    "type": "string",
    "pattern": NO_EXPRESSION,
    SAYS: "write it out: it cannot be an expression",
}
LITERALS: Written = {
    "title": "text, or a list of texts",
    "anyOf": [LITERAL, {"type": "array", "minItems": 1, "items": LITERAL}],
}
ROUTE_NAME: Written = {
    "title": "a name",
    "type": "string",
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
    SAYS: "write 1 to 100 letters, digits, . _ / and -, and first a letter or digit",
}
TOPIC_NAME: Written = {
    "title": "a topic, or a pattern with *",
    "type": "string",
    "pattern": r"^[A-Za-z0-9._*-]{1,249}$",
}
CONDITION: Written = {
    "title": "CEL, true or false",
    "type": ["string", "boolean"],
    "minLength": 1,
    "pattern": r"^(?!\s*\$\{)",
    SAYS: "write CEL as text, without ${ }",
}
MOMENT: Written = {
    "title": "RFC 3339, or text with `${…}`",
    "type": "string",
    "pattern": (
        r"\$\{|^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
        r"([Zz]|[-+][0-9]{2}:[0-9]{2})$"
    ),
    "examples": ["2026-01-31T12:00:00Z"],
    SAYS: "write a time like 2026-01-31T12:00:00Z, or text with ${…}",
}
DURATION: Written = {
    "title": "a time span",
    "type": "string",
    "pattern": PATTERN,
    "examples": ["30s", "15m", "2h", "1d", "PT1H30M"],
    SAYS: "write 30s, 15m, 2h, 1d or ISO 8601 like PT1H30M",
}
ANYTHING: Written = {"title": "any value, its texts with `${…}`"}
ARGUMENTS: Written = {"title": "a list of any values, their texts with `${…}`", "type": "array"}
SCHEMA: Written = {"title": "a JSON Schema, or the path of one", "type": ["object", "string"]}
RULE: Written = {"type": "string", "enum": [*Rule]}
RULE_OR_PARK: Written = {
    "title": f"{', '.join(f'`{rule}`' for rule in Rule)} or `{{park: DURATION}}`",
    "anyOf": [
        RULE,
        {
            "type": "object",
            "properties": {"park": {**DURATION, "description": "For how long, from 1 s to 30 d."}},
            "required": ["park"],
            "additionalProperties": False,
        },
    ],
}
VERSION: Written = {"const": 1}

SCHEMA_FILES: Written = {
    "title": "the path of a schema, or a map of them by types of events",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string", "minLength": 1}},
    ],
}
