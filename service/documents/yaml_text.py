"""YAML that readers of all its versions read alike."""

import re
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import Node
from ruamel.yaml.representer import SafeRepresenter

_WORD = re.compile(r"(?!(?:y|yes|n|no|on|off|true|false|null)$)[a-z][a-z ,.()/_-]*", re.IGNORECASE | re.ASCII)
"""What is text to all of them without quotes."""


def as_yaml(document: Any) -> str:
    """Plain JSON values as YAML, keys in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    text = StringIO()
    yaml.dump(document, text)
    return text.getvalue()


class _Representer(SafeRepresenter):
    """As ruamel does it, but for text, and for values that come again."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - ruamel's own
        """What comes again is written again."""
        return True

    def text(self, data: str) -> Node:
        """In quotes where it might be something else, by lines where it has some."""
        style = None if _WORD.fullmatch(data) else "|" if _has_lines(data) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.text)


def _has_lines(text: str) -> bool:
    first, *others = text.split("\n")
    return bool(others) and not first.startswith(" ") and all(map(str.isprintable, (first, *others)))
