"""One customer for as long as they are one: an entity that counts points."""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import VersioningBehavior
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from workflows.inbox import repeats_dropped
    from workflows.shop.contracts import CustomerPoints, Purchase, Redemption

CENTS_PER_POINT = 100

REMEMBERED = 100
"""How many redemptions a customer knows, to let a repeated one pass without effect."""


# It outlives every build: its runs move on to the current one. docs/change.md says what that asks of changes.
@workflow.defn(versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class Customer:
    """Counts the points of purchases and lets them be spent; never ends by itself.

    Purchases come in batches, and take effect once each: the inbox drops repeats, also after a new run has
    begun. An update comes from a caller who waits, so not through the inbox: it has an id of its own.
    """

    @workflow.init
    def __init__(self, known: CustomerPoints) -> None:
        self._known = known
        self._show()

    @workflow.run
    async def run(self, known: CustomerPoints) -> None:  # noqa: ARG002 - @workflow.init took it
        """Listen, and go on in a new run before the history is too long."""
        await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        # No await from here on, and no handler is async: what was told so far is in what is handed on.
        workflow.continue_as_new(self._known)

    @workflow.signal(description="The customer bought something, once or several times.")
    def points_earned(self, purchases: Sequence[Purchase]) -> None:
        """Count a batch of purchases: a point for each whole euro."""
        points = sum(purchase.total_cents // CENTS_PER_POINT for purchase in purchases)
        self._become(points=self._known.points + points, purchases=self._known.purchases + len(purchases))

    @workflow.update(description="Spends points; refused when there are too few.")
    def redeem(self, redemption: Redemption) -> int:
        """Spend points, and say how many are left."""
        if redemption.redemption_id not in self._known.redeemed:
            self._become(
                points=self._known.points - redemption.points,
                redeemed=(*self._known.redeemed, redemption.redemption_id)[-REMEMBERED:],
            )
        return self._known.points

    @redeem.validator
    def _check_points(self, redemption: Redemption) -> None:
        # A repeat passes: whoever asks again did not hear the answer to what may have been done.
        repeated = redemption.redemption_id in self._known.redeemed
        if not repeated and redemption.points > self._known.points:
            raise ApplicationError("not enough points", type="NotEnoughPoints", non_retryable=True)

    @workflow.query(description="How many points there are, and of how many purchases.")
    def status(self) -> CustomerPoints:
        """Tell all that is known of the customer."""
        return self._known

    def _become(self, **changes: object) -> None:
        self._known = self._known.model_copy(update=changes)
        self._show()

    def _show(self) -> None:
        repeats = f"; {dropped} repeats dropped" if (dropped := repeats_dropped()) else ""
        known = self._known
        workflow.set_current_details(f"{known.points} points, {known.purchases} purchases{repeats}")
