"""The pages of the Temporal UI that an operator opens, and what each must say."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from deploy.demo.stage import GROUP
from tests.console.scenes import BECAUSE, TRACE_ID


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one workflow, or of a list.

    `workflow` is its id, empty for a list; `where` is the part of the address behind it, or the list's
    query. Each of `says` must be in the page's text or links, in whatever case. `press` is a button.
    """

    name: str
    workflow: str
    where: str
    says: Sequence[str]
    press: str = ""

    def path(self, run_id: str) -> str:
        """The address below the UI's own, of one run."""
        workflows = "/namespaces/default/workflows"
        if not self.workflow:
            return f"{workflows}?query={quote(self.where)}"
        return f"{workflows}/{quote(self.workflow, safe='')}/{run_id}/{self.where}"


PARKED, SWITCHBOARD = f"parked/{GROUP}/invoice/I-7", f"switchboard/{GROUP}"

PAGES = (
    Page(
        "list-by-route",
        "",
        'TurnoutRoute="order-placed"',
        ["order/A-1001", "order/A-1003", "order/A-1006", "OrderFulfilment", "Running", "Completed"],
    ),
    Page("list-parked", "", 'WorkflowType="Park" AND ExecutionStatus="Running"', [PARKED]),
    Page(
        "order-timeline",
        "order/A-1001",
        "timeline",
        ["call • shop.payment.requested", "publish • shop.order.fulfilled → shop.results"],
    ),
    Page(
        "order-details",
        "order/A-1001",
        "user-metadata",
        ["shop.order.placed from shop.orders", "order-placed", TRACE_ID, "Runbook", "fulfilled"],
    ),
    Page(
        "order-attributes",
        "order/A-1001",
        "search-attributes",
        ["TurnoutRoute", "order-placed", "TurnoutEventType", "TurnoutEventId", "TurnoutRecord"],
    ),
    Page(
        "failed-order-timeline",
        "order/A-1003",
        "timeline",
        ["publish • shop.stock.released", "publish • shop.order.rejected → shop.results"],
    ),
    Page("waiting-order", "order/A-1006", "pending-activities", ["call"]),
    Page("waiting-order-details", "order/A-1006", "user-metadata", ["waits for"]),
    Page("order-query", "order/A-1006", "query", ["status", '"step"'], press="Run Query"),
    Page(
        "park-details",
        PARKED,
        "user-metadata",
        ["Holds", "invoice/I-7", "gives up at", "invoice-paid", "letter"],
    ),
    Page("park-timeline", PARKED, "timeline", ["deliver", "invoice/I-7"]),
    Page("switchboard-details", SWITCHBOARD, "user-metadata", ["shop.products", BECAUSE]),
    Page("customer-signals", "customer/C-7", "timeline", ["points_earned"]),
)
