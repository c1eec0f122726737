"""The commands that make and change topics and give rights in Kafka, for people to run."""

import shlex
from collections.abc import Iterable, Mapping, Sequence

ANYBODY = "NAME"
"""Stands for whoever logs in, where nobody has said who that is."""


def acl_command(
    servers: str,
    principal: str,
    operations: Sequence[str],
    kind: str,
    names: Iterable[str],
    *,
    prefix: bool = False,
) -> str:
    """The `kafka-acls.sh` command that lets `principal` do `operations` with what is called `names`."""
    resources = [f"--{kind}"] if kind == "cluster" else [f"--{kind} {name}" for name in names]
    pattern = ["--resource-pattern-type prefixed"] if prefix else []
    return " ".join(
        [
            f"kafka-acls.sh --bootstrap-server {servers} --add",
            f"--allow-principal {shlex.quote(f'User:{principal}')}",
            *(f"--operation {operation}" for operation in operations),
            *resources,
            *pattern,
        ]
    )


def set_command(servers: str, topic: str, setting: str) -> str:
    """The command that sets one setting of `topic`, `name=value`."""
    return (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {setting}"
    )


def create_command(
    servers: str, topic: str, settings: Mapping[str, str], *, partitions: int = 0, replicas: int = 0
) -> str:
    """The command that makes `topic`, if it is not there; where a number is 0, the brokers' own is taken."""
    return " ".join(
        [
            f"kafka-topics.sh --bootstrap-server {servers} --create --topic {topic}",
            *([f"--partitions {partitions}"] if partitions else []),
            *([f"--replication-factor {replicas}"] if replicas else []),
            *(f"--config {name}={value}" for name, value in settings.items()),
            "--if-not-exists",
        ]
    )
