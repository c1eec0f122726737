# ruff: noqa: E501 - a case is a line
"""From events to commands, by the routes of the design's example."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import RouteError
from service.events.envelope import MappedEnvelope, TopicFormat
from service.events.event import Event
from service.kafka.record import Record
from service.routing.commands import Cancel, Command, OrStart, Rule, Signal, Start, StartOptions
from service.routing.table import RouteTable, Topic, load_routes

EXAMPLE = """\
version: 1
task_queues: {customers: {inbox: true}}
topics:
  shop.results: {out: true}
  shop.orders:
    format: json                   # the bytes
    event: cloudevents             # the envelope
    ordering: key                  # key | partition
    unmatched: skip
  payments.events:
    format: json
    key: json
    ordering: partition
    tombstones: skip               # skip | event
    event:
      type: ${headers["event-type"]}
      id: ${data.event_id}         # without it: the record's place
      subject: ${data.order_id}
    unmatched: dead-letter
routes:
  - name: order-placed             # the name is the route's identity for ever
    from: shop.orders
    type: shop.order.placed
    when: data.total_cents > 0
    start:
      workflow: OrderFulfilment    # a type; `to` is an id
      id: order/${data.order_id}
      task_queue: orders
      input: ${data}               # or args: a list
      running: skip
      closed: skip
  - name: payment-captured
    from: payments.events
    type: payment.captured
    signal:
      to: order/${data.order_id}
      name: payment_captured
      input: ${data}
      missing: {park: 15m}
      closed: skip
  - name: points-earned
    from: shop.orders
    type: shop.order.placed
    signal:
      to: customer/${data.customer_id}
      name: points_earned
      input: ${data}
      or_start: {workflow: Customer, task_queue: customers}
  - name: order-withdrawn
    from: shop.orders
    type: shop.order.withdrawn
    cancel: {to: "order/${data.order_id}", reason: withdrawn, missing: {park: 15m}}
"""
ORDER = {"order_id": "A-1", "customer_id": 7, "total_cents": 1250}


def event(
    data: Any = None,
    *,
    type_: str = "shop.order.placed",
    topic: str = "shop.orders",
    headers: Mapping[str, str] | None = None,
) -> Event:
    record = Record(topic, 2, 1042, b"A-1", b"{}", (), 1_700_000_000_000)
    return Event(
        key=("/shop", "E-1"),
        id="E-1",
        source="/shop",
        type=type_,
        subject="",
        time="2026-01-31T12:00:00Z",
        data=data,
        has_data=True,
        record=record,
        headers=headers or {},
    )


def table(folder: Path, text: str) -> RouteTable:
    (folder / "routes.yaml").write_text(text)
    return load_routes(folder)


@pytest.fixture
def example(tmp_path: Path) -> RouteTable:
    return table(tmp_path, EXAMPLE)


def one_route(folder: Path, action: str, *, more: str = "") -> RouteTable:
    return table(
        folder,
        f"version: 1\n{more}\ntopics: {{orders: {{}}}}\nroutes:\n  - name: r\n    from: orders\n    {action}\n",
    )


def command(routes: RouteTable, data: Any = None, **others: Any) -> Command | None:
    (route,) = routes.routes
    return route.command(event(data, topic="orders", **others))


def reason(routes: RouteTable, data: Any = None) -> str:
    with pytest.raises(RouteError) as caught:
        command(routes, data)
    return str(caught.value)


# --- what the files declare ---


def test_topics_are_what_the_decoder_and_the_lanes_need(example: RouteTable) -> None:
    assert example.topics["shop.orders"] == Topic("shop.orders", TopicFormat("shop.orders"), "key", Rule.SKIP)
    payments = example.topics["payments.events"]
    assert (payments.ordering, payments.unmatched) == ("partition", Rule.DEAD_LETTER)
    assert (payments.format.key, payments.format.tombstones) == ("json", "skip")
    envelope = payments.format.envelope
    assert isinstance(envelope, MappedEnvelope)
    assert envelope.type.text({"headers": {"event-type": "payment.captured"}}) == "payment.captured"
    assert envelope.id
    assert envelope.id.text({"data": {"event_id": "P-1"}}) == "P-1"
    assert (envelope.source, envelope.time) == (None, None)


def test_topics_to_write_to_are_not_read(example: RouteTable) -> None:
    assert example.out_topics == {"shop.results"}
    assert example.topics.keys() == {"shop.orders", "payments.events"}


def test_what_wiring_checks_is_listed(tmp_path: Path) -> None:
    routes = table(
        tmp_path,
        """\
version: 1
namespaces: [eu, us]
task_queues: {spare: {inbox: true}}
topics: {orders: {}}
routes:
  - name: a
    from: orders
    start: {workflow: W, id: x, task_queue: q, namespace: asia, search_attributes: {Order: "${data.id}"}}
  - name: b
    from: orders
    signal:
      to: x
      name: n
      namespace: ${data.region}
      or_start: {workflow: W, task_queue: p, search_attributes: {Customer: c}}
  - name: c
    from: orders
    start: {workflow: W, id: x, task_queue: "q-${data.region}"}
""",
    )
    assert routes.search_attributes == {"Order", "Customer"}
    assert routes.namespaces == {"eu", "us", "asia"}
    assert routes.task_queues == {"q": False, "p": False, "spare": True}


# --- matching ---


def test_all_routes_of_topic_and_type_match_in_file_order(example: RouteTable) -> None:
    assert [route.name for route in example.routes_for(event())] == ["order-placed", "points-earned"]
    withdrawn = event(type_="shop.order.withdrawn")
    assert [route.name for route in example.routes_for(withdrawn)] == ["order-withdrawn"]


def test_an_event_of_another_type_or_topic_is_unmatched(example: RouteTable) -> None:
    assert not example.routes_for(event(type_="shop.order.shipped"))
    assert not example.routes_for(event(topic="payments.events"))
    assert not example.routes_for(event(topic="elsewhere"))


def test_a_route_without_a_type_matches_any_and_one_with_a_list_each(tmp_path: Path) -> None:
    routes = table(
        tmp_path,
        """\
version: 1
topics: {shop.orders: {}}
routes:
  - {name: a, from: shop.orders, type: [x, y], cancel: {to: x}}
  - {name: b, from: shop.orders, cancel: {to: x}}
  - {name: c, from: shop.orders, type: y, cancel: {to: x}}
""",
    )

    def names(type_: str) -> str:
        return "".join(route.name for route in routes.routes_for(event(type_=type_)))

    assert (names("x"), names("y"), names("z")) == ("ab", "abc", "b")


def test_a_route_is_found_by_its_name(example: RouteTable) -> None:
    route = example.route("order-placed")
    assert route
    assert route.name == "order-placed"
    assert example.route("gone") is None


# --- commands ---


def test_the_example_makes_its_commands(example: RouteTable) -> None:
    placed = event(ORDER)
    assert [route.command(placed) for route in example.routes_for(placed)] == [
        Start(
            route="order-placed",
            event=placed,
            workflow_id="order/A-1",
            workflow="OrderFulfilment",
            task_queue="orders",
            args=(ORDER,),
            running=Rule.SKIP,
            closed=Rule.SKIP,
        ),
        Signal(
            route="points-earned",
            event=placed,
            workflow_id="customer/7",
            name="points_earned",
            args=(ORDER,),
            or_start=OrStart(workflow="Customer", task_queue="customers"),
        ),
    ]
    captured = event(ORDER, type_="payment.captured", topic="payments.events")
    assert [route.command(captured) for route in example.routes_for(captured)] == [
        Signal(
            route="payment-captured",
            event=captured,
            workflow_id="order/A-1",
            name="payment_captured",
            args=(ORDER,),
            missing=timedelta(minutes=15),
            closed=Rule.SKIP,
        )
    ]
    withdrawn = event(ORDER, type_="shop.order.withdrawn")
    assert [route.command(withdrawn) for route in example.routes_for(withdrawn)] == [
        Cancel(
            route="order-withdrawn",
            event=withdrawn,
            workflow_id="order/A-1",
            reason="withdrawn",
            missing=timedelta(minutes=15),
            closed=Rule.DEAD_LETTER,
        )
    ]


def test_a_false_condition_makes_no_command(example: RouteTable) -> None:
    route = example.route("order-placed")
    assert route
    assert route.command(event({**ORDER, "total_cents": 0})) is None


def test_a_condition_without_an_answer_makes_a_letter_not_a_skip(example: RouteTable) -> None:
    route = example.route("order-placed")
    assert route
    with pytest.raises(RouteError) as caught:
        route.command(event({"order_id": "A-1"}))
    assert str(caught.value) == (
        "route order-placed: when: data has no attribute 'total_cents'; "
        "write data.?total_cents.orValue(0) if it may be absent"
    )


@pytest.mark.parametrize(
    ("identifier", "data", "expected"),
    [
        ("${data.x}", {"x": ""}, "route r: to: `data.x` is empty, which cannot stand in text"),
        ("${data.x}", {"x": None}, "route r: to: `data.x` is null, which cannot stand in text"),
        ("order/${data.x}", {"x": None}, "route r: to: `data.x` is null, which cannot stand in text"),
        ("order/${data.x}", {"x": {"a": 1}}, "route r: to: `data.x` is a map, which cannot stand in text"),
        ("order/${data.x}", {"x": [1]}, "route r: to: `data.x` is a list, which cannot stand in text"),
        ("order/${data.x}", {"x": 1.0}, "route r: to: `data.x` is a float, which cannot stand in text"),
        ("order/${data.x + 'a'}", {"x": "\0"}, "route r: to: `data.x + 'a'` gives text with a NUL, a lone surrogate or U+FFFF; take the attribute as a whole, ${data.x}, or send it without"),
        ("order/${data.x}", {"x": "a\0b"}, "route r: to: `order/${data.x}` gives text with a NUL, a lone surrogate or U+FFFF"),
        ("order/${data.x}", {"x": "a\nb"}, "route r: to holds a control character"),
        ("order/${data.x}", {"x": "é" * 120}, "route r: to has 246 bytes of UTF-8; at most 240 are allowed"),
        ("order/${data.x}", {}, "route r: to: data has no attribute 'x'; write data.?x.orValue(0) if it may be absent"),
        ("order/${data.x}", None, "route r: to: data is null, so it has no attribute 'x'"),
    ],
)  # fmt: skip
def test_no_command_goes_to_an_id_that_is_none(
    tmp_path: Path, identifier: str, data: Any, expected: str
) -> None:
    assert reason(one_route(tmp_path, f'cancel: {{to: "{identifier}"}}'), data) == expected


def test_arguments_keep_their_types_and_shape(tmp_path: Path) -> None:
    routes = one_route(
        tmp_path,
        """signal:
      to: x
      name: n
      args:
        - ${data}
        - {order: "${data.id}", text: "order ${data.id}", fixed: [1, 2.5, true, null, "$${x}"], day: 2026-01-31}
        - ${event.type}""",
    )
    made = command(routes, {"id": 7})
    assert isinstance(made, Signal)
    fixed = [1, 2.5, True, None, "${x}"]
    assert made.args == (
        {"id": 7},
        {"order": 7, "text": "order 7", "fixed": fixed, "day": "2026-01-31"},
        "shop.order.placed",
    )


def test_no_input_is_no_argument_and_null_is_one(tmp_path: Path) -> None:
    without = command(one_route(tmp_path, "signal: {to: x, name: n}"))
    assert isinstance(without, Signal)
    assert without.args == ()
    null = command(one_route(tmp_path, "signal: {to: x, name: n, input: '${data}'}"), None)
    assert isinstance(null, Signal)
    assert null.args == (None,)


OPTIONS = """start:
      workflow: ${data.kind}
      id: ${event.id}
      task_queue: ${data.queue}-${data.region}
      namespace: eu
      execution_timeout: 1d
      run_timeout: PT12H
      task_timeout: 30s
      start_at: ${data.due}
      search_attributes: {Order: "${data.id}", Tags: "${data.tags}", Paid: true, Count: 3}
      memo: {order: "${data}", fixed: {a: [1]}}
      priority: 2
      fairness_key: ${data.region}
      fairness_weight: 2
      summary: |
        order ${data.id}
        of ${data.region}"""
DUE = "2026-02-01T08:00:00.5+01:00"
FULL = {"kind": "W", "queue": "q", "region": "eu", "due": DUE, "id": 7, "tags": ["a"]}


def test_every_start_option_is_filled(tmp_path: Path) -> None:
    made = command(one_route(tmp_path, OPTIONS), FULL)
    assert isinstance(made, Start)
    assert (made.workflow, made.task_queue, made.namespace, made.workflow_id) == ("W", "q-eu", "eu", "E-1")
    assert made.options == StartOptions(
        execution_timeout=timedelta(days=1),
        run_timeout=timedelta(hours=12),
        task_timeout=timedelta(seconds=30),
        start_at=datetime(2026, 2, 1, 7, 0, 0, 500_000, tzinfo=UTC),
        search_attributes={"Order": 7, "Tags": ["a"], "Paid": True, "Count": 3},
        memo={"order": FULL, "fixed": {"a": [1]}},
        summary="order 7 of eu",
        priority=2,
        fairness_key="eu",
        fairness_weight=2,
    )


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"due": "tomorrow"}, "start_at is not RFC 3339; send a time like 2026-01-31T12:00:00Z"),
        ({"due": "2026-02-01T08:00:00"}, "start_at is not RFC 3339; send a time like 2026-01-31T12:00:00Z"),
        ({"id": None}, "search attribute Order is neither text, number, boolean nor a list of texts"),
        ({"tags": [1]}, "search attribute Tags is neither text, number, boolean nor a list of texts"),
        ({"region": "x" * 65}, "fairness_key is longer than 64 bytes of UTF-8"),
        ({"kind": "a\tb"}, "workflow holds a control character"),
        ({"queue": "/_sys/q"}, "task_queue begins with /_sys/, which Temporal keeps for itself"),
    ],
)
def test_an_option_that_cannot_be_makes_no_command(
    tmp_path: Path, wrong: dict[str, Any], expected: str
) -> None:
    assert reason(one_route(tmp_path, OPTIONS), FULL | wrong) == f"route r: {expected}"


def test_a_long_summary_is_cut_between_characters(tmp_path: Path) -> None:
    action = 'start: {workflow: W, id: x, task_queue: q, summary: "a${data.x}"}'
    made = command(one_route(tmp_path, action), {"x": "é" * 300})
    assert isinstance(made, Start)
    assert made.options.summary == "a" + "é" * 99


def test_a_namespace_outside_the_list_is_refused(tmp_path: Path) -> None:
    routes = one_route(tmp_path, 'cancel: {to: x, namespace: "${data.region}"}', more="namespaces: [eu, us]")
    made = command(routes, {"region": "eu"})
    assert made
    assert made.namespace == "eu"
    assert reason(routes, {"region": "mars"}) == "route r: namespace is none of the allowed ones: eu, us"


def test_the_rules_default_to_dead_letter(tmp_path: Path) -> None:
    for action in (
        "start: {workflow: W, id: x, task_queue: q}",
        "signal: {to: x, name: n}",
        "cancel: {to: x}",
    ):
        routes = one_route(tmp_path, action)
        made = command(routes)
        rules = {getattr(made, name, Rule.DEAD_LETTER) for name in ("running", "closed", "missing")}
        assert rules == {Rule.DEAD_LETTER}
        assert routes.topics["orders"].unmatched is Rule.DEAD_LETTER


@pytest.mark.parametrize(
    ("action", "key"),
    [
        ("start: {workflow: W, id: x, task_queue: q, KEY: skip}", "running"),
        ("start: {workflow: W, id: x, task_queue: q, KEY: skip}", "closed"),
        ("signal: {to: x, name: n, KEY: skip}", "missing"),
        ("signal: {to: x, name: n, KEY: skip}", "closed"),
        ("cancel: {to: x, KEY: skip}", "missing"),
        ("cancel: {to: x, KEY: skip}", "closed"),
    ],
)
def test_each_rule_goes_where_it_says(tmp_path: Path, action: str, key: str) -> None:
    made = command(one_route(tmp_path, action.replace("KEY", key)))
    skipped = {name for name in ("running", "closed", "missing") if getattr(made, name, None) is Rule.SKIP}
    assert skipped == {key}


@pytest.mark.parametrize("action", ["signal: {to: x, name: n, KEY}", "cancel: {to: x, KEY}"])
@pytest.mark.parametrize(
    ("text", "span"),
    [("1s", timedelta(seconds=1)), ("15m", timedelta(minutes=15)), ("P30D", timedelta(days=30))],
)
def test_a_command_may_be_parked_for_a_second_to_thirty_days(
    tmp_path: Path, action: str, text: str, span: timedelta
) -> None:
    made = command(one_route(tmp_path, action.replace("KEY", f"missing: {{park: {text}}}")))
    assert isinstance(made, Signal | Cancel)
    assert made.missing == span


# --- workflows that are looked for ---

WHERE = '{where: {Order: "${data.id}", Paid: "${data.paid}", WorkflowType: Shop}}'


@pytest.mark.parametrize("action", ["signal: {to: TO, name: n}", "cancel: {to: TO}"])
def test_a_workflow_is_looked_for_by_the_texts_of_its_search_attributes(tmp_path: Path, action: str) -> None:
    routes = one_route(tmp_path, action.replace("TO", WHERE))
    made = command(routes, {"id": 42, "paid": True})
    assert isinstance(made, Signal | Cancel)
    assert (made.workflow_id, made.where) == ("", {"Order": "42", "Paid": "true", "WorkflowType": "Shop"})
    assert made.target == "where/Order=42,Paid=true,WorkflowType=Shop"
    assert routes.looked_for == {"Order", "Paid"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "Order: `data.id` is empty"),
        (None, "Order: `data.id` is null"),
        ("x" * 256, "Order is longer than 255 characters"),
        ("back\\slash", "Order holds a character that cannot be looked for"),
        ('a "word"', "Order holds a character that cannot be looked for"),
        ("'quoted'", "Order begins or ends with a '"),
        ("a\nline", "Order holds a character that cannot be looked for"),
    ],
)
def test_what_can_never_be_found_is_refused_and_not_taken_for_missing(
    tmp_path: Path, value: Any, expected: str
) -> None:
    routes = one_route(tmp_path, "cancel: {to: " + WHERE + ", missing: skip}")
    assert reason(routes, {"id": value, "paid": True}).startswith(f"route r: {expected}")


# --- several topics ---


def test_a_route_reads_each_of_its_topics_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "version: 1\n"
        "topics: {eu: {}, us: {}, all: {}}\n"
        "task_queues: {q: {inbox: true}}\n"
        "routes:\n"
        "  - {name: some, from: [eu, us], signal: {to: x, name: n, input: 1, batch: true}}\n"
        "  - {name: each, from: [eu, us, all], type: placed, cancel: {to: x}}\n"
    )
    routes = load_routes(path)
    names = {
        topic: [route.name for route in routes.routes_for(event(topic=topic, type_="placed"))]
        for topic in routes.topics
    }
    assert names == {"eu": ["some", "each"], "us": ["some", "each"], "all": ["each"]}
    assert routes.batching_topics.names == {"eu", "us"}
