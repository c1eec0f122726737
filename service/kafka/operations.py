"""What we may do with topics and groups, as brokers tell it: two calls of the protocol with rights in them.

aiokafka speaks versions of them without. Source: the protocol guide (kafka.apache.org), Metadata version 8
and DescribeGroups version 3, both of Kafka 2.3 (KIP-430), and the Javadoc of AclOperation for the numbers.
"""

from collections.abc import Sequence

from aiokafka.protocol.admin import (
    DescribeGroupsRequest_v0,
    DescribeGroupsResponse_v0,
    DescribeGroupsResponse_v3,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

_NAMES = {
    3: "Read",
    4: "Write",
    5: "Create",
    6: "Delete",
    7: "Alter",
    8: "Describe",
    9: "ClusterAction",
    10: "DescribeConfigs",
    11: "AlterConfigs",
    12: "IdempotentWrite",
}
_NOT_SAID = -(1 << 31)


def operations_in(bits: int) -> frozenset[str] | None:
    """The operations that `bits` of an answer stand for; None where the broker did not say."""
    if bits == _NOT_SAID:
        return None
    return frozenset(name for number, name in _NAMES.items() if bits >> number & 1)


class _TopicsAnswer(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _TopicsQuestion(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsAnswer
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
    )


class TopicsRequest(Request[MetadataRequest_v5 | _TopicsQuestion]):  # type: ignore[misc] # aiokafka has no types
    """Asks about these topics, with our rights where the broker can tell them; makes none."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(
        self, request_struct_class: type[MetadataRequest_v5 | _TopicsQuestion]
    ) -> MetadataRequest_v5 | _TopicsQuestion:
        """See `Request`."""
        rights = (False, True) if request_struct_class is _TopicsQuestion else ()
        return request_struct_class(self._topics, False, *rights)


class _GroupsQuestion(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 15
    API_VERSION = 3
    # That of aiokafka 0.14 names the answer of version 2, without the operations.
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_operations", Boolean))


class _GroupsWithoutRights(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 15
    API_VERSION = 0
    RESPONSE_TYPE = DescribeGroupsResponse_v0
    SCHEMA = DescribeGroupsRequest_v0.SCHEMA


class GroupsRequest(Request[_GroupsWithoutRights | _GroupsQuestion]):  # type: ignore[misc] # aiokafka has no types
    """Asks about a group, with our rights where the broker can tell them."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(
        self, request_struct_class: type[_GroupsWithoutRights | _GroupsQuestion]
    ) -> _GroupsWithoutRights | _GroupsQuestion:
        """See `Request`."""
        rights = (True,) if request_struct_class is _GroupsQuestion else ()
        return request_struct_class([self._group], *rights)
