"""What may be said to the shop's workflows, and what they answer.

All are made of other people's JSON: fields that we do not know are ignored, since events are only ever
extended, but a text is never taken for a number. Money is in integer cents.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt

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


class Purchase(Contract):
    """One item of signal `points_earned`: what a customer bought at once."""

    total_cents: Cents


class CustomerPoints(Contract):
    """All that a `Customer` knows: what its first run begins with, and what each run hands to the next.

    `redeemed` holds the ids of the latest redemptions, the oldest first.
    """

    customer_id: str
    points: Annotated[StrictInt, Field(ge=0)] = 0
    purchases: Annotated[StrictInt, Field(ge=0)] = 0
    redeemed: tuple[str, ...] = ()


class Redemption(Contract):
    """Update `redeem`: spend points. One with the same id is the same one, and takes effect once."""

    redemption_id: str
    points: Annotated[StrictInt, Field(ge=1)]


class Invoice(Contract):
    """What is to be paid, and until when."""

    invoice_id: str
    order_id: str
    amount_cents: Cents
    due_at: AwareDatetime


class Payment(Contract):
    """Signal `paid`: money came for an invoice."""

    payment_id: str


class PaymentStatus(Contract):
    """Answer of the query `status`, and result: which payment counts, if any; `surplus` came beside it."""

    invoice_id: str
    decided: StrictBool = False
    payment_id: str | None = None
    surplus: tuple[str, ...] = ()


class PackedParcel(Contract):
    """One parcel, as the warehouse packed it."""

    parcel_id: str
    address: str


class PackedOrder(Contract):
    """An order in parcels; as many as one run of a workflow can have children at once, and to spare."""

    order_id: str
    parcels: Annotated[tuple[PackedParcel, ...], Field(min_length=1, max_length=100)]


class ParcelNews(Contract):
    """Signals `delivered` and `lost`: what became of a parcel."""

    parcel_id: str


class DeliveryResult(Contract):
    """Which parcels of an order were delivered, and which are missing; in their order."""

    order_id: str
    delivered: tuple[str, ...]
    missing: tuple[str, ...]


class RecallList(Contract):
    """A recalled product and who bought it; `told` counts those of earlier runs, who are no longer listed."""

    recall_id: str
    sku: str
    customers: tuple[str, ...]
    told: Annotated[StrictInt, Field(ge=0)] = 0


class RecallResult(Contract):
    """How many customers were told of a recall."""

    recall_id: str
    told: int
