from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from workflows.results import result_id

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {
        "workflow_id": st.text(min_size=1),
        "original_run_id": st.uuids().map(str),
        "type_": st.text(min_size=1),
        "nth": st.integers(min_value=0, max_value=1000),
        "subject": st.text(),
        "data": json_values,
    }
)


def _in_another_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_another_order(inner) for key, inner in reversed(value.items())}
    if isinstance(value, list):
        return [_in_another_order(inner) for inner in value]
    return value


@given(parts)
def test_the_same_result_has_the_same_id_in_whatever_order_its_keys_stand(result: dict[str, Any]) -> None:
    id_ = result_id(**result)

    assert str(UUID(id_)) == id_
    assert result_id(**_in_another_order(result)) == id_


@given(parts, parts)
def test_different_results_have_different_ids(one: dict[str, Any], other: dict[str, Any]) -> None:
    # Compared as text, since Python holds 1, 1.0 and True for equal and JSON does not.
    assert (result_id(**one) == result_id(**other)) == (repr(_sorted(one)) == repr(_sorted(other)))


@given(parts, st.sampled_from(["workflow_id", "original_run_id", "type_", "nth", "subject", "data"]), parts)
def test_each_part_counts(result: dict[str, Any], part: str, other: dict[str, Any]) -> None:
    changed = result | {part: other[part]}

    same = repr(_sorted(result)) == repr(_sorted(changed))
    assert (result_id(**result) == result_id(**changed)) == same


def test_an_id_stays_what_it_was_in_earlier_releases() -> None:
    """Running workflows would publish again under other ids what they published before."""
    id_ = result_id(
        "order/A-1", "run-1", "shop.order.fulfilled", 0, subject="A-1", data={"b": 1, "a": [None]}
    )

    assert id_ == "f3ea4d7f-769e-5ce7-bb50-ef685729dbd7"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _sorted(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return ["list", *map(_sorted, value)]
    return value
