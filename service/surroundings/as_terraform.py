"""What a deployment needs, as Terraform: by the provider `Mongey/kafka`, and `temporalio/temporalcloud`.

There is no provider for the search attributes of a Temporal of one's own: these are commands, in comments.
Sources: the references of both providers (registry.terraform.io).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from service.kafka.rights import Right, Rule, rules
from service.surroundings.as_commands import attribute_commands
from service.surroundings.needs import Needs
from service.surroundings.wanted import WantedAttribute, WantedTopic

_HEAD = """\
terraform {
  required_providers {
    kafka         = { source = "Mongey/kafka" }
    temporalcloud = { source = "temporalio/temporalcloud" }
  }
}
"""


def as_terraform(
    needs: Needs,
    topics: Iterable[WantedTopic],
    attributes: Sequence[WantedAttribute],
    rights: Iterable[Right],
) -> str:
    """A file of Terraform."""
    blocks = [
        _HEAD,
        *(_topic(topic) for topic in topics),
        *(_acl(rule, operation, needs.principal) for rule in rules(rights) for operation in rule.operations),
        *_attributes(attributes),
    ]
    return "\n".join(blocks)


def label(*parts: str) -> str:
    """A name that Terraform takes, another one for each `parts`."""
    text = "-".join(parts)
    name = re.sub(r"[^A-Za-z0-9-]", "_", text)
    if re.fullmatch(r"[A-Za-z0-9.-]*", text):
        return name
    return f"{name}-{blake2b(text.encode(errors='backslashreplace'), digest_size=4).hexdigest()}"


def quoted(text: str) -> str:
    """A text in quotes, taken as it is."""
    return json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def _block(kind: str, name: str, values: Mapping[str, str | int | Mapping[str, str]]) -> str:
    lines = [f'resource "{kind}" "{name}" {{', *_entries(values, "  "), "}", ""]
    return "\n".join(lines)


def _entries(values: Mapping[str, str | int | Mapping[str, str]], indent: str) -> Iterator[str]:
    for key, value in values.items():
        match value:
            case str():
                yield f"{indent}{key} = {quoted(value)}"
            case int():
                yield f"{indent}{key} = {value}"
            case _:
                yield f"{indent}{key} = {{"
                yield from (f"{indent}  {quoted(name)} = {quoted(text)}" for name, text in value.items())
                yield f"{indent}}}"


def _topic(topic: WantedTopic) -> str:
    values: dict[str, str | int | Mapping[str, str]] = {
        "name": topic.name,
        "partitions": topic.partitions,
        "replication_factor": topic.replicas,
        "config": topic.settings,
    }
    return _block("kafka_topic", label("topic", topic.name), values)


def _acl(rule: Rule, operation: str, principal: str) -> str:
    name = rule.name or "kafka-cluster"  # how Kafka calls it
    values: dict[str, str | int | Mapping[str, str]] = {
        "resource_name": name,
        "resource_type": rule.kind.title(),
        "resource_pattern_type_filter": "Prefixed" if rule.prefix else "Literal",
        "acl_principal": f"User:{principal}",
        "acl_host": "*",
        "acl_operation": operation,
        "acl_permission_type": "Allow",
    }
    return _block("kafka_acl", label(rule.kind, name, operation.lower()), values)


def _attributes(attributes: Sequence[WantedAttribute]) -> Iterator[str]:
    if attributes:
        commands = "\n".join(f"# {command}" for command in attribute_commands(attributes))
        yield f"# On Temporal Cloud; else instead of what follows:\n{commands}\n"
    for one in attributes:
        values: dict[str, str | int | Mapping[str, str]] = {
            "namespace_id": one.namespace,
            "name": one.name,
            "type": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one.type or "TYPE").lower(),
        }
        name = label("attribute", one.namespace, one.name)
        yield _block("temporalcloud_namespace_search_attribute", name, values)
