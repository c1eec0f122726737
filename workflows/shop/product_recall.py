"""One event to each of very many customers, while the history stays short."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.results import Results
    from workflows.shop.contracts import RecallList, RecallResult

RESULTS = "shop.results"
SOURCE = "shop/recalls"

AT_ONCE = 20
"""How many are published side by side."""

PER_RUN = 100
"""After so many a new run begins. Each costs at most 6 events of history: 3 of its activity, and 3 of the
workflow task that takes its result. So a run stays under a thousand, of the 4,096 at which Temporal
suggests a new run."""


@workflow.defn
class ProductRecall:
    """Tells each customer on a list that a product is recalled, a bounded number at a time.

    Publishes `shop.recall.notice` for each customer, then `shop.recall.completed`. Cancelled, it stops after
    those that are being published.
    """

    @workflow.init
    def __init__(self, recall: RecallList) -> None:
        self._recall = recall
        self._results = Results(RESULTS, SOURCE)

    @workflow.run
    async def run(self, recall: RecallList) -> RecallResult:
        """Tell the next ones; the rest is for the next run."""
        for start in range(0, min(PER_RUN, len(recall.customers)), AT_ONCE):
            await self._tell(recall.customers[start : start + AT_ONCE])
        if self._recall.customers:
            workflow.continue_as_new(self._recall)
        told = RecallResult(recall_id=recall.recall_id, told=self._recall.told)
        await self._results.publish("shop.recall.completed", recall.recall_id, told.model_dump())
        return told

    @workflow.query(description="Who has yet to be told, and how many have been.")
    def status(self) -> RecallList:
        """Tell how far it is."""
        return self._recall

    async def _tell(self, customers: tuple[str, ...]) -> None:
        recall = self._recall
        data = {"recall_id": recall.recall_id, "sku": recall.sku}
        await self._results.publish_all(
            self._results.event("shop.recall.notice", customer, {**data, "customer_id": customer})
            for customer in customers
        )
        self._recall = recall.model_copy(
            update={
                "customers": recall.customers[len(customers) :],
                "told": recall.told + len(customers),
            }
        )
        workflow.set_current_details(
            f"{self._recall.told} told, {len(self._recall.customers)} to go, {AT_ONCE} at once"
        )
