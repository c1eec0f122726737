"""What is looked at before anything is done for an order."""

from pydantic import BaseModel, ConfigDict
from temporalio import activity
from temporalio.exceptions import ApplicationError


class BillLine(BaseModel):
    """So many pieces at a price per piece, in cents."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    quantity: int
    price_cents: int


class Bill(BaseModel):
    """What an order says it costs, in cents."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    lines: tuple[BillLine, ...]
    total_cents: int


@activity.defn
async def check_order(bill: Bill) -> None:
    """Check that the lines sum up to the total.

    Raises:
        ApplicationError: Type `OrderInvalid`, not retryable: the same order can never become valid.
    """
    sum_cents = sum(line.quantity * line.price_cents for line in bill.lines)
    if sum_cents != bill.total_cents:
        # Without the sums: payload values do not belong in the texts of errors.
        raise ApplicationError(
            "the lines do not sum up to the total", type="OrderInvalid", non_retryable=True
        )
