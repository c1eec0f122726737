"""What `turnout setup` makes and prints: what a start asks for, in texts that their readers take."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from service.failures.letter_topic import weaknesses
from service.failures.letters import HEADROOM_BYTES
from service.kafka.rights import Letters, Who, least_rights, rules
from service.routing.table import load_routes
from service.settings import KafkaSettings, Settings
from service.surroundings.as_commands import as_commands
from service.surroundings.as_strimzi import as_strimzi, resource_name
from service.surroundings.as_terraform import as_terraform, label, quoted
from service.surroundings.needs import Reading, needs_of
from service.surroundings.wanted import Choices, WantedAttribute, wanted_attributes, wanted_topics
from tests.unit.surroundings import NEEDS, OURS

ALL = Choices(topics=True)
ATTRIBUTES = list(wanted_attributes(NEEDS, {"OrderNumber": "KeywordList"}))
ROUTES = """\
version: 1
namespaces: [eu, us]
topics: {orders: {}, changes: {tombstones: event}, done: {out: true}, sent: {out: true}}
routes:
  - {name: here, from: orders, start: {workflow: W, id: w, task_queue: q, publish_closing: done,
     search_attributes: {Total: "${data.total}"}}}
  - {name: there, from: [orders, changes], start: {
     namespace: "${data.region}", workflow: W, id: w, task_queue: "${data.q}"}}
  - {name: elsewhere, from: changes, signal: {
     namespace: asia, to: {where: {OrderNumber: "${data.id}"}}, name: s}}
  - {name: kept, from: changes, signal: {to: k, name: s, or_start: {workflow: K, task_queue: keepers}}}
"""


def test_what_is_needed_is_told_by_routes_and_settings(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    kafka = KafkaSettings(bootstrap_servers="k:9092", allow_insecure=True)
    needs = needs_of(Settings(group="g", kafka=kafka), load_routes(tmp_path), "default", "app")
    assert needs.topics == ["g.dead-letters", "orders", "changes", "done", "sent"]
    assert needs.read == {
        "orders": Reading(starts=frozenset({"default", "eu", "us"})),
        "changes": Reading(tombstones=True, starts=frozenset({"default", "eu", "us"})),
    }
    assert needs.queues == {"asia": [], "default": ["q", "keepers"], "eu": [], "us": []}
    assert needs.attributes == OURS
    assert needs.set_by_routes == frozenset({"Total"})
    assert needs.looked_for == frozenset({"OrderNumber"})
    assert needs.groups == ["g", "g.given-up", "g.routes", "g.seek", "g.letters"]


def test_topics_of_a_pattern_are_needed_as_it_is_declared_once_they_are_known(tmp_path: Path) -> None:
    routes = ROUTES.replace("topics: {", 'topics: {"orders-*": {}, orders-out: {out: true}, ')
    (tmp_path / "routes.yaml").write_text(routes.replace("from: orders,", "from: [orders, orders-*],"))
    needs = needs_of(Settings(group="g"), load_routes(tmp_path), "default", "app")
    assert set(needs.read) == {"orders", "changes"}
    there = needs.with_topics(["orders", "orders-eu", "orders-out", "others"])
    assert set(there.read) == {"orders", "changes", "orders-eu"}
    assert there.read["orders-eu"] == Reading(starts=frozenset({"default"}))


def test_the_rights_to_topics_of_a_pattern_go_by_how_it_begins() -> None:
    rights = least_rights(
        "shop", read=["a", "b-*.c", "*.d"], told=[], written=[], letters=Letters("l", "g"), replays="r"
    )
    read = {(right.name, right.prefix) for right in rights if right.why == "its events"}
    assert read == {("a", False), ("b-", True), ("*", False)}


def test_the_rights_are_the_least_that_each_of_them_needs() -> None:
    def of(*who: Who) -> dict[str, tuple[str, ...]]:
        return {
            f"{rule.kind} {rule.name}{'*' * rule.prefix}": rule.operations
            for rule in rules(right for right in NEEDS.rights if right.who in who and right.needed)
        }

    assert of(Who.BRIDGE) == {
        "topic orders": ("Read",),
        "topic replies": ("Read",),
        "topic results": ("Write",),
        "topic shop.dead-letters": ("Write",),
        "group shop": ("Read",),
    }
    assert of(Who.WORKER) == {"topic results": ("Write",)}
    assert of(Who.PEOPLE) == {}
    names = {f"{rule.kind} {rule.name}{'*' * rule.prefix}" for rule in rules(NEEDS.rights)}
    assert {"group shop.letters", "group shop.replay.*", "group shop.given-up"} <= names
    assert not [right for right in NEEDS.rights if right.operation in {"Create", "Alter", "All"}]


@given(st.integers(1, 9), st.sampled_from([None, 1, 2, 3]), st.integers(1, 1 << 30))
def test_a_letter_topic_as_it_is_made_has_nothing_that_a_start_holds_against_it(
    brokers: int, replicas: int | None, largest: int
) -> None:
    copies = min(replicas or 3, brokers)  # more than there are brokers is refused by Kafka
    choices = Choices(replicas=copies if replicas else None)
    letters, *_ = wanted_topics(NEEDS, choices, brokers=brokers, largest_record_bytes=largest)
    assert letters.replicas == copies
    found = weaknesses(
        letters.settings, needed_bytes=largest + HEADROOM_BYTES, replicas=letters.replicas, brokers=brokers
    )
    # Who asks for one replica gets one.
    assert [one.problem for one in found if "one replica" not in one.problem or copies > 1] == []


def test_commands_are_words_of_a_shell_with_each_name_as_it_is() -> None:
    needs = replace(NEEDS, principal="CN=a b'c")
    text = as_commands(needs, wanted_topics(needs, ALL), ATTRIBUTES, needs.rights)
    commands = [
        shlex.split(line, comments=True) for line in text.splitlines() if shlex.split(line, comments=True)
    ]
    assert {words[0] for words in commands} == {"kafka-topics.sh", "kafka-acls.sh", "temporal"}
    made = [words[words.index("--topic") + 1] for words in commands if words[0] == "kafka-topics.sh"]
    assert made == ["shop.dead-letters", "orders", "replies", "results"]
    acls = [words for words in commands if words[0] == "kafka-acls.sh"]
    assert {words[words.index("--allow-principal") + 1] for words in acls} == {"User:CN=a b'c"}
    (prefixed,) = [words for words in acls if "prefixed" in words]
    assert prefixed[prefixed.index("--group") + 1] == "shop.replay."
    registered = {
        (words[words.index("--name") + 1], words[-1]) for words in commands if words[0] == "temporal"
    }
    assert registered == {*((name, "Keyword") for name in OURS), ("OrderNumber", "KeywordList")}


def test_a_type_that_nobody_has_said_is_left_for_people_to_fill_in() -> None:
    attributes = list(wanted_attributes(NEEDS, {}))
    assert WantedAttribute("default", "OrderNumber", "") in attributes
    assert "--name OrderNumber --type TYPE" in as_commands(NEEDS, [], attributes, [])


def strimzi(**changes: Any) -> list[dict[str, Any]]:
    how = {"cluster": "main", "login": "scram-sha-512"} | changes
    text = as_strimzi(NEEDS, wanted_topics(NEEDS, ALL), ATTRIBUTES, NEEDS.rights, **how)
    return list(YAML(typ="safe", pure=True).load_all(text))


def test_strimzi_is_given_topics_and_a_user_with_acls() -> None:
    *topics, user = strimzi()
    assert {document["apiVersion"] for document in (*topics, user)} == {"kafka.strimzi.io/v1"}
    assert {d["metadata"]["labels"]["strimzi.io/cluster"] for d in (*topics, user)} == {"main"}
    assert [topic["metadata"]["name"] for topic in topics] == [
        "shop.dead-letters",
        "orders",
        "replies",
        "results",
    ]
    assert topics[0]["spec"] == {
        "partitions": 1,
        "replicas": 3,
        "config": {
            "cleanup.policy": "delete",
            "max.message.bytes": 1_114_124,
            "retention.ms": 30 * 86_400_000,
            "min.insync.replicas": 2,
        },
    }
    assert (user["kind"], user["metadata"]["name"]) == ("KafkaUser", "app")
    assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
    acls = user["spec"]["authorization"]["acls"]
    resource = {"type": "topic", "name": "orders", "patternType": "literal"}
    assert {"resource": resource, "operations": ["Read", "DescribeConfigs"], "host": "*"} in acls
    prefix = {"type": "group", "name": "shop.replay.", "patternType": "prefix"}
    assert {"resource": prefix, "operations": ["Read"], "host": "*"} in acls
    assert {"resource": {"type": "cluster"}, "operations": ["DescribeConfigs"], "host": "*"} in acls
    assert "authentication" not in strimzi(login=None)[-1]["spec"]


TOPICS = st.text("abXY09._-", min_size=1, max_size=80)


@given(TOPICS, TOPICS)
def test_each_topic_has_a_name_that_kubernetes_takes_and_no_other_has(one: str, other: str) -> None:
    name = resource_name(one)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", name)
    assert len(name) <= 63
    assert (name == resource_name(other)) is (one == other)


def test_a_topic_that_kubernetes_cannot_name_keeps_its_own_name() -> None:
    topic = wanted_topics(replace(NEEDS, read={"Orders_EU": Reading()}, written=frozenset()), ALL)
    text = as_strimzi(NEEDS, topic, [], [], cluster="main", login=None)
    _, made, *_ = YAML(typ="safe", pure=True).load_all(text)
    assert made["spec"]["topicName"] == "Orders_EU"
    assert made["metadata"]["name"] == resource_name("Orders_EU") != "Orders_EU"


def test_terraform_is_given_each_topic_right_and_attribute_once() -> None:
    text = as_terraform(NEEDS, wanted_topics(NEEDS, ALL), ATTRIBUTES, NEEDS.rights)
    assert text.count("{") == text.count("}")
    blocks = re.findall(r'^resource "(\w+)" "([A-Za-z0-9_-]+)" \{$', text, re.MULTILINE)
    assert len(set(blocks)) == len(blocks)
    kinds = [kind for kind, _ in blocks]
    assert kinds.count("kafka_topic") == 4
    assert kinds.count("temporalcloud_namespace_search_attribute") == 5
    assert kinds.count("kafka_acl") == sum(len(rule.operations) for rule in rules(NEEDS.rights))
    (replays,) = re.findall(r'resource "kafka_acl" "group-shop_replay_-read" \{(.*?)\n\}', text, re.DOTALL)
    assert re.findall(r'(\w+) = "(.*)"', replays) == [
        ("resource_name", "shop.replay."),
        ("resource_type", "Group"),
        ("resource_pattern_type_filter", "Prefixed"),
        ("acl_principal", "User:app"),
        ("acl_host", "*"),
        ("acl_operation", "Read"),
        ("acl_permission_type", "Allow"),
    ]
    assert 'type = "keyword_list"' in text


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_and_texts_of_terraform_are_taken_as_they_are(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", label(one))
    assert (label("topic", one) == label("topic", other)) is (one == other)
    plain = one.replace("{", "")
    assert json.loads(quoted(plain)) == plain


def test_nothing_in_a_text_of_terraform_is_taken_for_an_expression() -> None:
    assert quoted('User:${a} %{b} "c"') == '"User:$${a} %%{b} \\"c\\""'


@pytest.mark.parametrize("topic", ["a.b", "a_b"])
def test_a_dot_and_an_underscore_make_two_names(topic: str) -> None:
    assert label(topic) != label({"a.b": "a_b", "a_b": "a.b"}[topic])
