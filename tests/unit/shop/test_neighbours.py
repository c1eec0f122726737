import json
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.neighbours import (
    Answer,
    Headers,
    Neighbour,
    Request,
    Stock,
    answers,
    payment,
    read_request,
    shipping,
)


def stock_request(id_: str, sku: str = "PEN", line: int = 1) -> Request:
    data = {"order_id": "A-1", "line": line, "sku": sku, "quantity": 2}
    return Request(id_, "shop.stock.requested", data, "1.c.s")


def payment_request(card: str = "card-good") -> Request:
    data = {"order_id": "A-1", "amount_cents": 1000, "card_token": card}
    return Request("r-1", "shop.payment.requested", data, "1.c.s")


def shipping_request() -> Request:
    data = {"order_id": "A-1", "address": "1 Main Street"}
    return Request("r-1", "shop.shipping.requested", data, "1.c.s")


def answer_of(neighbour: Neighbour, request: Request) -> Answer:
    answer = neighbour(request)
    assert answer
    return answer


def reserved(answer: Answer | None) -> bool:
    assert answer
    value: bool = json.loads(answer.value)["reserved"]
    return value


def test_stock_answers_with_a_binary_cloudevent() -> None:
    answer = answer_of(Stock(), stock_request("r-1"))

    headers = dict(answer.headers)
    assert (answer.topic, answer.key) == ("stock.events", b"A-1")
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == b"stock.reserved"
    assert headers["ce_source"] == b"demo/stock"
    assert headers["ce_subject"] == b"A-1"
    assert headers["correlation"] == b"1.c.s"
    assert headers["content-type"] == b"application/json"
    assert json.loads(answer.value) == {
        "order_id": "A-1",
        "request_id": "r-1",
        "line": 1,
        "sku": "PEN",
        "reserved": True,
    }


def test_a_rare_article_lacks_once_for_each_order_line() -> None:
    stock = Stock()

    assert not reserved(stock(stock_request("r-1", "RARE-INK")))
    assert reserved(stock(stock_request("r-2", "RARE-INK")))
    assert not reserved(stock(stock_request("r-3", "RARE-INK", line=2)))
    assert dict(answer_of(Stock(), stock_request("r-1", "RARE")).headers)["ce_type"] == b"stock.lacking"


def test_a_request_that_comes_again_gets_the_answer_that_it_got_before() -> None:
    stock = Stock()
    requests = [stock_request(id_, "RARE-INK") for id_ in ("r-1", "r-1", "r-2", "r-1", "r-2")]

    first, again, second, once_more, second_again = (stock(request) for request in requests)

    assert first == again == once_more
    assert second == second_again
    assert first != second


def test_payment_answers_with_plain_json_and_its_type_in_a_header() -> None:
    answer = answer_of(payment, payment_request())

    assert (answer.topic, answer.key) == ("payments.events", b"A-1")
    assert answer.headers == [("event-type", b"payment.captured"), ("correlation", b"1.c.s")]
    assert json.loads(answer.value) == {
        "event_id": payment_request().answer_id,
        "order_id": "A-1",
        "request_id": "r-1",
        "amount_cents": 1000,
        "reason": "",
    }


def test_a_declined_card_says_why() -> None:
    answer = answer_of(payment, payment_request("card-declined"))

    assert answer.headers[0] == ("event-type", b"payment.declined")
    assert json.loads(answer.value)["reason"] == "declined by the bank"


def test_shipping_answers_with_a_structured_cloudevent() -> None:
    answer = answer_of(shipping, shipping_request())

    event = json.loads(answer.value)
    assert (answer.topic, answer.key) == ("shipping.events", b"A-1")
    assert dict(answer.headers)["content-type"] == b"application/cloudevents+json"
    assert event["correlation"] == "1.c.s"
    assert event["type"] == "shipping.shipped"
    assert event["id"] == shipping_request().answer_id
    assert event["data"]["request_id"] == "r-1"
    assert event["data"]["tracking"].startswith("PARCEL-")


@pytest.mark.parametrize("neighbour", [Stock(), payment, shipping])
@pytest.mark.parametrize("type_", ["shop.stock.released", "shop.payment.refunded", "shop.order.fulfilled"])
def test_a_neighbour_ignores_what_is_not_asked_of_it(neighbour: Neighbour, type_: str) -> None:
    assert neighbour(Request("r-1", type_, {"order_id": "A-1"})) is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_an_answer_is_the_same_event_exactly_when_its_request_is(one: str, other: str) -> None:
    def answered(id_: str) -> bytes:
        return dict(answer_of(Stock(), stock_request(id_)).headers)["ce_id"]

    assert (answered(one) == answered(other)) == (one == other)


def test_a_request_is_read_from_a_binary_cloudevent_with_its_correlation_and_its_trace() -> None:
    headers = [
        ("ce_id", b"r-1"),
        ("ce_type", b"shop.payment.requested"),
        ("correlation", b"1.c.s"),
        ("traceparent", b"00-a-b-01"),
        ("other", b"\xff"),
    ]
    value = b'{"order_id": "A-1", "amount_cents": 1, "card_token": "c"}'

    request = read_request(headers, value)

    assert request == Request(
        "r-1",
        "shop.payment.requested",
        {"order_id": "A-1", "amount_cents": 1, "card_token": "c"},
        "1.c.s",
        [("traceparent", b"00-a-b-01")],
    )
    assert ("traceparent", b"00-a-b-01") in answer_of(payment, request).headers


@given(
    st.lists(st.tuples(st.sampled_from(["ce_id", "ce_type", "x"]), st.binary()), max_size=4),
    st.none() | st.binary() | st.sampled_from([b"[]", b"1", b"{}"]),
)
def test_arbitrary_bytes_never_stop_a_neighbour(headers: Headers, value: bytes | None) -> None:
    assert answers(Stock(), [Mock(headers=headers, value=value)]) == []


@pytest.mark.parametrize(
    "data", [{}, {"order_id": "A-1", "line": 1, "sku": 7}, {"order_id": "A-1", "line": []}]
)
def test_a_request_that_lacks_what_a_neighbour_needs_is_passed_over(data: dict[str, Any]) -> None:
    headers = [("ce_id", b"r-1"), ("ce_type", b"shop.stock.requested")]
    bad, good = (
        Mock(headers=headers, value=json.dumps(value).encode()) for value in (data, stock_request("r-1").data)
    )

    (answer,) = answers(Stock(), [bad, good])

    assert reserved(answer)
