"""Callbacks: what Temporal is asked to call with, and which calls are taken for it."""

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from activities.signing import NotOurs
from service.dispatch.callbacks import Callbacks, Called
from service.temporal.closed import Run

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
RUN = Run("shop", "order/A-1", "01a20f53-5aec-766e-a766-35d7389847b9")


def headers(callbacks: Callbacks, run: Run, topic: str) -> dict[str, str]:
    """What Temporal calls with, after it was asked to."""
    asked = callbacks.asked_for(run.namespace, run.workflow_id, topic)
    return {**asked.nexus.header, "nexus-link": link(run)}


def link(run: Run) -> str:
    """As Temporal Server 1.32.0 writes it: with Go's url.PathEscape."""
    parts = [quote(part, safe="$&+:=@") for part in run]
    where = "/namespaces/{}/workflows/{}/{}/history".format(*parts)
    query = "eventID=1&eventType=WorkflowExecutionStarted&referenceType=EventReference"
    return f'<temporal://{where}?{query}>; type="temporal.api.common.v1.Link.WorkflowEvent"'


@given(names, names, st.uuids())
def test_a_call_that_was_asked_for_says_which_run_has_closed(
    namespace: str, workflow_id: str, run_id: object
) -> None:
    run = Run(namespace, workflow_id, str(run_id))
    callbacks = Callbacks("http://here/", ["s3cret"])
    assert callbacks.read(headers(callbacks, run, "shop.results")) == Called(run, "shop.results")


def test_the_secret_is_in_nothing_that_temporal_shows() -> None:
    asked = Callbacks("http://here/", ["s3cret"]).asked_for("shop", "order/A-1", "shop.results")
    assert asked.nexus.url == "http://here/"
    assert "s3cret" not in str(asked)


@given(names, names)
def test_a_signature_is_good_for_its_workflow_alone(one: str, other: str) -> None:
    assume(one != other)
    callbacks = Callbacks("http://here/", ["s3cret"])
    stolen = headers(callbacks, RUN._replace(workflow_id=one), "shop.results")
    stolen["nexus-link"] = link(RUN._replace(workflow_id=other))
    with pytest.raises(NotOurs):
        callbacks.read(stolen)


def test_neither_another_topic_nor_another_namespace_goes_with_a_signature() -> None:
    callbacks = Callbacks("http://here/", ["s3cret"])
    good = headers(callbacks, RUN, "shop.results")
    for changed in (
        {"turnout-topic": "payments.events"},
        {"nexus-link": link(RUN._replace(namespace="other"))},
        {"turnout-signature": ""},
    ):
        with pytest.raises(NotOurs, match="its signature is none of ours"):
            callbacks.read({**good, **changed})
    # The signature is of the workflow: which of its runs has closed, Temporal says.
    assert callbacks.read({**good, "nexus-link": link(RUN._replace(run_id="r-2"))}).run.run_id == "r-2"


@given(st.dictionaries(st.sampled_from(["nexus-link", "turnout-topic", "turnout-signature"]), names))
def test_any_other_call_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(NotOurs):
        Callbacks("http://here/", ["s3cret"]).read(said)


def test_the_first_secret_signs_and_all_are_accepted() -> None:
    old, new = Callbacks("http://here/", ["old"]), Callbacks("http://here/", ["new"])
    both = Callbacks("http://here/", ["new", "old"])
    assert both.read(headers(old, RUN, "t")) == both.read(headers(both, RUN, "t"))
    assert new.read(headers(both, RUN, "t")) == Called(RUN, "t")
    with pytest.raises(NotOurs):
        old.read(headers(both, RUN, "t"))
    for none in ([], [""]):
        with pytest.raises(ValueError, match="takes a secret"):
            Callbacks("http://here/", none)
