"""What may be said to the shop's workflows, and what they answer.

All are made of other people's JSON: fields that we do not know are ignored, since events are only ever
extended, but a text is never taken for a number. Money is in integer cents.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

Cents = Annotated[StrictInt, Field(ge=0)]
Quantity = Annotated[StrictInt, Field(ge=1)]


class Contract(BaseModel):
    """What all of these have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OrderLine(Contract):
    """So many pieces of one article, at a price per piece."""

    sku: str
    quantity: Quantity
    price_cents: Cents


class Order(Contract):
    """An order as the customer placed it; its lines are named by their place, from 1."""

    order_id: str
    customer_id: str
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1)]
    total_cents: Cents
    address: str
    card_token: str


class OrderResult(Contract):
    """How a fulfilled order ended. All other ends are failures with a name, or a cancellation."""

    order_id: str
    total_cents: Cents
    tracking: str


class StockAnswer(Contract):
    """The stock's reply: that of one line is set aside under `request_id`, or lacks."""

    request_id: str
    reserved: StrictBool


class PaymentAnswer(Contract):
    """The payment's reply: the card is charged, under `request_id`."""

    request_id: str


class ShippingAnswer(Contract):
    """The shipping's reply: the parcel is on its way."""

    request_id: str
    tracking: str = ""


class NewAddress(Contract):
    """Update `change_address`: where to ship to instead."""

    address: Annotated[str, Field(min_length=1)]


class Step(StrEnum):
    """Where an order is on its way."""

    CHECKING = "checking"
    RESERVING = "reserving"
    BACK_ORDERED = "back-ordered"
    CHARGING = "charging"
    SHIPPING = "shipping"
    FULFILLED = "fulfilled"
    COMPENSATING = "compensating"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"


class OrderStatus(Contract):
    """Answer of the query `status`.

    `waits_for` is one sentence for people, empty when nothing is waited for. `reserved` holds the
    numbers of the lines whose stock is set aside.
    """

    order_id: str
    step: Step
    waits_for: str
    reserved: tuple[int, ...]
