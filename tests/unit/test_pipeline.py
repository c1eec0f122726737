"""What the pipeline checks before anything runs."""

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from service.errors import ConfigurationError
from service.pipeline import _check_attributes

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT


def test_attributes_that_are_registered_as_they_should_be_pass() -> None:
    _check_attributes("shop", {"TurnoutRoute": KEYWORD, "Total": INT}, ["TurnoutRoute"], ["Total"])


def test_missing_attributes_come_with_the_commands_that_create_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        _check_attributes("shop", {}, ["TurnoutRoute"], ["Total"])
    text = str(caught.value)
    assert "temporal operator search-attribute create -n shop --name TurnoutRoute --type Keyword" in text
    assert "temporal operator search-attribute create -n shop --name Total --type TYPE" in text


def test_an_attribute_of_ours_with_another_type_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="TurnoutRoute must be of type Keyword"):
        _check_attributes("shop", {"TurnoutRoute": INT}, ["TurnoutRoute"], [])
