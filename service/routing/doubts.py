"""What can be used, and is most likely a mistake: warnings about routes that load."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from service.errors import Finding
from service.expressions import ROUTE_VARIABLES, MistakesError, Template
from service.routing.conditions import is_never_true
from service.routing.entries import Entry, actions_of, id_of, starts_of
from service.routing.lookups import OF_TEMPORAL, RUNNING, STATUS, SYSTEM
from workflows.topics import is_pattern

OURS = 4
"""Search attributes that each start sets by itself."""

MOST_OF_A_START = 100
MOST_OF_A_NAMESPACE = 28
"""What a namespace can have registered where visibility is an SQL database: 10 keywords and 3 of each of the
six other types. Source: Temporal's documentation, "Search Attributes", limits."""

LONGEST_BYTES = 2048

# Without underscores; several words are looked for as one, too: first_name, firstName.
_PERSONAL = frozenset(
    {
        *("email", "mail", "phone", "telephone", "mobile", "firstname", "lastname", "surname", "fullname"),
        *(
            "givenname",
            "familyname",
            "birthday",
            "birthdate",
            "dateofbirth",
            "dob",
            "ssn",
            "iban",
            "passport",
        ),
        *(
            "street",
            "postaladdress",
            "homeaddress",
            "taxid",
            "cardnumber",
            "creditcard",
            "ipaddress",
            "gender",
        ),
    }
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_LETTER = re.compile(r"[^\W\d_]")
_TEXTS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)


def doubts(routes: Sequence[Entry]) -> Iterator[Finding]:
    """All that there is to doubt in `routes`; what the grammar refuses is left to it."""
    for route in routes:
        yield from _never_true(route)
        for action in actions_of(route):
            yield from _personal(action, id_of(action))
            yield from _unreadable(action)
        for start in starts_of(route):
            if attributes := start.below("search_attributes"):
                for name in attributes.keys:
                    yield from _personal(attributes, name)
                yield from _over_limits(attributes)
    yield from _too_many(routes)
    yield from _lookups(routes)


def _never_true(route: Entry) -> Iterator[Finding]:
    when, types = route.keys.get("when"), route.keys.get("type")
    if when is False:
        yield route.at_value("TR401", "when", "`when` is always false", "take the route away")
    if not isinstance(when, str) or not _is_right(ROUTE_VARIABLES.compile, when):
        return
    topics = route.texts("from")
    given = {"record.topic": set(topics)} if topics and not any(map(is_pattern, topics)) else {}
    listed = [types] if isinstance(types, str) else types
    if isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        given["event.type"] = set(listed)
    if is_never_true(when, given):
        yield route.at_value("TR401", "when", "`when` can never be true", "mend it, or take the route away")


def _personal(entry: Entry, key: str) -> Iterator[Finding]:
    for source in _expressions(entry.keys.get(key)):
        if found := _personal_word(source):
            problem = f"{key}: `{found}` is personal data, which everybody sees who sees the workflow"
            yield entry.at_value("TR402", key, problem, "use a number of yours that stands for the person")


def _personal_word(source: str) -> str:
    for name in re.findall(r"\w+", source):
        words = [word.lower() for word in _WORDS.findall(name)]
        joined = {"".join(words[at : at + count]) for at in range(len(words)) for count in (1, 2, 3)}
        if joined & _PERSONAL:
            return str(name)
    return ""


def _unreadable(action: Entry) -> Iterator[Finding]:
    key = id_of(action)
    template = _template(action.keys.get(key))
    if template is None or not template.expressions:
        return
    texts = [*template.literals, *(text for one in template.expressions for text in _TEXTS.findall(one))]
    # `["order_id"]` names an attribute: it is in no id.
    said = [text for text in texts if not any(f"[{text}]" in one for one in template.expressions)]
    if not any(_LETTER.search(text) for text in said):
        source = str(action.keys[key])
        cure = f"begin it with what it is the id of: order/{source}"
        yield action.at_value("TR403", key, f"{key}: in a list of workflows nobody can read that id", cure)


def _over_limits(attributes: Entry) -> Iterator[Finding]:
    start = attributes.loc[-2]
    if len(attributes.keys) > MOST_OF_A_START - OURS:
        problem = f"{len(attributes.keys)} search attributes in one {start}"
        cure = f"Temporal takes {MOST_OF_A_START}, of which {OURS} are turnout's"
        yield attributes.document.at_value("TR404", attributes.loc, problem, cure)
    for name, value in attributes.keys.items():
        if name in OF_TEMPORAL:
            yield attributes.at_key("TR404", name, f"'{name}' is Temporal's own", "name it otherwise")
        template = _template(value)
        size = len("".join(template.literals).encode()) if template else 0
        if size > LONGEST_BYTES:
            problem = f"{name}: {size} bytes at least, and Temporal takes {LONGEST_BYTES}"
            yield attributes.at_value("TR404", name, problem, "make it shorter, or put it into `memo`")


def _too_many(routes: Sequence[Entry]) -> Iterator[Finding]:
    seen: set[str] = set()
    for attributes in (s.below("search_attributes") for route in routes for s in starts_of(route)):
        for name in attributes.keys if attributes else ():
            if name not in seen and len(seen) == MOST_OF_A_NAMESPACE - OURS and attributes:
                problem = f"'{name}' is the {len(seen) + 1}th search attribute of these routes"
                cure = (
                    f"with {OURS} of turnout's a namespace on an SQL database takes {MOST_OF_A_NAMESPACE}: "
                    "use fewer, or `memo`"
                )
                yield attributes.at_key("TR404", name, problem, cure)
            seen.add(name)


def _lookups(routes: Sequence[Entry]) -> Iterator[Finding]:
    known = {
        name
        for route in routes
        for start in starts_of(route)
        if (attributes := start.below("search_attributes"))
        for name in attributes.keys
    }
    for where in (to.below("where") for route in routes for a in actions_of(route) if (to := a.below("to"))):
        for name in where.keys if where else ():
            if where is None or name in known | SYSTEM:
                continue
            yield from _personal(where, name)
            if close := difflib.get_close_matches(name, known, 1, cutoff=0.8):
                problem = f"no start here sets search attribute '{name}'"
                yield where.at_key("TR407", name, problem, f"did you mean {close[0]}?")
        if where and where.keys.get(STATUS) == RUNNING:
            problem = "only running workflows are looked for: what is delivered again may reach the next one"
            cure = f"take {STATUS} away where a value is one workflow's alone"
            yield where.at_value("TR408", STATUS, problem, cure)


# --- texts of a route, where they are right ---


def _template(value: Any) -> Template | None:
    if not isinstance(value, str):
        return None
    try:
        return Template.parse(value, ROUTE_VARIABLES)
    except MistakesError:
        return None


def _expressions(value: Any) -> Sequence[str]:
    template = _template(value)
    return template.expressions if template else ()


def _is_right(compile_: Callable[[str], object], source: str) -> bool:
    try:
        compile_(source)
    except MistakesError:
        return False
    return True
