"""What a deployment needs of Kafka, as resources of Strimzi: `KafkaTopic` and `KafkaUser`.

Source: Strimzi's API reference, kafka.strimzi.io/v1.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

from service.documents.yaml_text import as_yaml
from service.kafka.commands import ANYBODY
from service.kafka.rights import Right, Rule, rules
from service.surroundings.as_commands import attribute_commands
from service.surroundings.needs import Needs
from service.surroundings.wanted import WantedAttribute, WantedTopic

API = "kafka.strimzi.io/v1"
LONGEST_NAME = 63
"""Of a resource, so that its name may be a label, too."""

Login = Literal["scram-sha-512", "tls"] | None
"""How the user logs in, where Strimzi is to make the credentials."""


def as_strimzi(
    needs: Needs,
    topics: Iterable[WantedTopic],
    attributes: Sequence[WantedAttribute],
    rights: Iterable[Right],
    *,
    cluster: str,
    login: Login,
) -> str:
    """YAML documents; Temporal's part, which Strimzi has nothing to do with, as commands in comments."""
    documents = [*(_topic(topic, cluster) for topic in topics), _user(needs, rights, cluster, login)]
    comments = [f"# {command}" for command in attribute_commands(attributes)]
    if comments:
        comments.insert(0, "# The search attributes are Temporal's:")
    return "---\n".join(map(as_yaml, documents)) + "\n".join(comments) + "\n" * bool(comments)


def resource_name(text: str) -> str:
    """A name that Kubernetes takes, another one for each `text`."""
    name = re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")
    name = re.sub(r"[.-]*\.[.-]*", ".", name)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{name[: LONGEST_NAME - len(digest) - 1].rstrip('-.')}-{digest}".lstrip("-")


def _topic(topic: WantedTopic, cluster: str) -> Mapping[str, Any]:
    name = resource_name(topic.name)
    return {
        "apiVersion": API,
        "kind": "KafkaTopic",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            **({"topicName": topic.name} if name != topic.name else {}),
            "partitions": topic.partitions,
            "replicas": topic.replicas,
            "config": {name: _value(value) for name, value in topic.settings.items()},
        },
    }


def _value(text: str) -> str | int:
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _user(needs: Needs, rights: Iterable[Right], cluster: str, login: Login) -> Mapping[str, Any]:
    # With `tls`, Strimzi makes the certificate of CN=NAME: that is how ACLs call the user.
    principal = needs.group if needs.principal == ANYBODY else needs.principal.removeprefix("CN=")
    return {
        "apiVersion": API,
        "kind": "KafkaUser",
        "metadata": {"name": resource_name(principal), "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            **({"authentication": {"type": login}} if login else {}),
            "authorization": {"type": "simple", "acls": list(_acls(rules(rights)))},
        },
    }


def _acls(all_rules: Iterator[Rule]) -> Iterator[Mapping[str, Any]]:
    for rule in all_rules:
        resource: dict[str, str] = {"type": rule.kind}
        if rule.kind != "cluster":
            resource |= {"name": rule.name, "patternType": "prefix" if rule.prefix else "literal"}
        yield {"resource": resource, "operations": list(rule.operations), "host": "*"}
