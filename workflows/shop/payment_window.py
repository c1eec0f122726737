"""One invoice, from its issue until it is paid or overdue: a payment races a deadline."""

from collections import deque
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.results import Results
    from workflows.shop.contracts import Invoice, Payment, PaymentStatus

RESULTS = "shop.results"
SOURCE = "shop/payments"


@workflow.defn
class PaymentWindow:
    """Waits for the payment of an invoice until it is due, and publishes which of the two came first.

    Ends: `shop.invoice.settled`, or `shop.invoice.overdue`; either way completed. A payment that is not the
    one that settled the invoice, because it came too late or was a second one, is published as
    `shop.payment.surplus`, so that someone gives the money back.
    """

    @workflow.init
    def __init__(self, invoice: Invoice) -> None:
        self._invoice = invoice
        self._results = Results(RESULTS, SOURCE)
        self._payments: deque[Payment] = deque()
        self._status = PaymentStatus(invoice_id=invoice.invoice_id)
        workflow.set_current_details(f"waits for a payment until {invoice.due_at}")

    @workflow.run
    async def run(self, invoice: Invoice) -> PaymentStatus:
        """Wait for the first of the two, and say which it was."""
        # From now until it is due, not a fixed time: what held up the start gives nobody longer to pay.
        left = max(invoice.due_at - workflow.now(), timedelta())
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: bool(self._payments),
                timeout=left,
                timeout_summary="payment deadline",
            )
        # What is there decides, not what ended the wait: both may have come while no worker ran.
        await self._decide(self._payments.popleft() if self._payments else None)
        while self._payments:
            await self._give_back(self._payments.popleft())
        # No await since the last look: Temporal ends no workflow while a signal waits for it.
        return self._status

    @workflow.signal(description="Money came for the invoice.")
    def paid(self, payment: Payment) -> None:
        """Take a payment."""
        self._payments.append(payment)

    @workflow.query(description="Whether it is decided, by which payment, and which others came.")
    def status(self) -> PaymentStatus:
        """Tell how the race stands."""
        return self._status

    async def _decide(self, payment: Payment | None) -> None:
        type_ = "shop.invoice.settled" if payment else "shop.invoice.overdue"
        payment_id = payment.payment_id if payment else None
        self._status = self._status.model_copy(update={"decided": True, "payment_id": payment_id})
        workflow.set_current_details(type_)
        await self._publish(type_, payment_id)

    async def _give_back(self, payment: Payment) -> None:
        surplus = (*self._status.surplus, payment.payment_id)
        self._status = self._status.model_copy(update={"surplus": surplus})
        await self._publish("shop.payment.surplus", payment.payment_id)

    async def _publish(self, type_: str, payment_id: str | None) -> None:
        invoice = self._invoice
        await self._results.publish(
            type_,
            invoice.order_id,
            {"invoice_id": invoice.invoice_id, "order_id": invoice.order_id, "payment_id": payment_id},
        )
