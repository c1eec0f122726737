"""An order on its way in several parcels, each of which is a child workflow."""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

with workflow.unsafe.imports_passed_through():
    from workflows.results import Results, to_the_end
    from workflows.shop.contracts import DeliveryResult, PackedOrder, PackedParcel, ParcelNews

RESULTS = "shop.results"
SOURCE = "shop/deliveries"

LONGEST_WAY = timedelta(days=14)
"""A parcel of which nothing was heard for so long is lost."""


@workflow.defn
class Parcel:
    """One parcel, from the warehouse until the courier says what became of it.

    Ends: completed when it is delivered; failed with type `ParcelLost`; cancelled, once
    `shop.parcel.recalled` has told the courier to bring it back.
    """

    @workflow.init
    def __init__(self, parcel: PackedParcel) -> None:
        self._parcel = parcel
        self._results = Results(RESULTS, SOURCE)
        self._end = ""

    @workflow.run
    async def run(self, parcel: PackedParcel) -> None:  # noqa: ARG002 - @workflow.init took it
        """Wait for the courier's word."""
        try:
            await workflow.wait_condition(
                lambda: bool(self._end), timeout=LONGEST_WAY, timeout_summary="longest way"
            )
        except TimeoutError:
            self._end = "unheard of"
        except asyncio.CancelledError:
            if not self._end:  # else the news came together with it, and nobody is on the way any more
                await to_the_end(self._call_back())
                raise
        if self._end != "delivered":
            raise ApplicationError(f"the parcel is {self._end}", type="ParcelLost", non_retryable=True)

    async def _call_back(self) -> None:
        parcel = self._parcel
        await self._results.publish("shop.parcel.recalled", parcel.parcel_id, parcel.model_dump())

    @workflow.signal(description="The parcel is where it should be.")
    def delivered(self, news: ParcelNews) -> None:  # noqa: ARG002 - its route says which parcel
        """Take the good news; the first news count."""
        self._end = self._end or "delivered"

    @workflow.signal(description="The courier lost the parcel.")
    def lost(self, news: ParcelNews) -> None:  # noqa: ARG002 - its route says which parcel
        """Take the bad news; the first news count."""
        self._end = self._end or "lost"

    @workflow.query(description="What became of the parcel; empty while it is on its way.")
    def status(self) -> str:
        """Tell what became of the parcel."""
        return self._end


@workflow.defn
class Delivery:
    """Follows all parcels of an order, and publishes once none is on its way any more.

    Ends: completed, with `shop.delivery.completed`, or `shop.delivery.incomplete` when parcels are missing;
    cancelled, when all parcels on their way have been called back.
    """

    @workflow.init
    def __init__(self, order: PackedOrder) -> None:
        self._order = order
        self._results = Results(RESULTS, SOURCE)
        self._arrived: dict[str, bool] = {}

    @workflow.run
    async def run(self, order: PackedOrder) -> DeliveryResult:
        """Start a child per parcel, side by side, and wait for all of them."""
        await asyncio.gather(*map(self._follow, order.parcels))
        result = self.status()
        kind = "incomplete" if result.missing else "completed"
        await self._results.publish(f"shop.delivery.{kind}", order.order_id, result.model_dump(mode="json"))
        return result

    @workflow.query(description="Which parcels have arrived, and which are missing so far.")
    def status(self) -> DeliveryResult:
        """Tell which parcels have arrived."""
        ids = [parcel.parcel_id for parcel in self._order.parcels]
        return DeliveryResult(
            order_id=self._order.order_id,
            delivered=tuple(id_ for id_ in ids if self._arrived.get(id_)),
            missing=tuple(id_ for id_ in ids if not self._arrived.get(id_)),
        )

    async def _follow(self, parcel: PackedParcel) -> None:
        try:
            await workflow.execute_child_workflow(
                Parcel.run,
                parcel,
                id=f"parcel/{parcel.parcel_id}",
                static_summary=f"parcel {parcel.parcel_id}",
                # However this ends, by a time limit or by hand too, each parcel hears of it and calls its
                # courier back. To terminate it (the default) would leave the courier on the way for
                # nobody, to abandon it would deliver what nobody follows any more.
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            )
        except ChildWorkflowError:
            # Lost, or called back. Not raised: `gather` would end at the first one, without the others.
            self._arrived[parcel.parcel_id] = False
        else:
            self._arrived[parcel.parcel_id] = True
