"""How a workflow is looked for by its search attributes: which names and values can be looked for."""

from service.errors import RouteError

STATUS, RUNNING = "ExecutionStatus", "Running"

SYSTEM = frozenset({"WorkflowType", STATUS})
"""Of Temporal's own attributes those that narrow a lookup."""

OF_TEMPORAL = frozenset(
    {
        *("BatcherNamespace", "BatcherUser", "BinaryChecksums", "BuildIds", "CloseTime", "ExecutionDuration"),
        *("ExecutionStatus", "ExecutionTime", "HistoryLength", "HistorySizeBytes", "ParentRunId"),
        *("ParentWorkflowId", "RootRunId", "RootWorkflowId", "RunId", "StartTime", "StateTransitionCount"),
        *("TaskQueue", "WorkflowId", "WorkflowType"),
    }
)
"""The names of search attributes that Temporal sets itself."""

KEYWORD_CHARACTERS = 255
"""What the databases behind visibility hold in a keyword column."""


def checked_value(text: str, what: str) -> str:
    r"""`text`, if a search attribute can be looked for by it.

    What cannot be found must be refused: it would be taken for missing. Temporal Server 1.32 finds neither
    what holds a `"` or a `\` nor what begins or ends with a `'`, however they are escaped.

    Raises:
        RouteError: It cannot; the reason names it by `what`.
    """
    if not text:
        raise RouteError(f"{what} is empty")
    if len(text) > KEYWORD_CHARACTERS:
        raise RouteError(f"{what} is longer than {KEYWORD_CHARACTERS} characters")
    if not text.isprintable() or '"' in text or "\\" in text:
        raise RouteError(
            f'{what} holds a character that cannot be looked for: ", \\ or one that does not print'
        )
    if text.strip("'") != text:
        raise RouteError(f"{what} begins or ends with a ', which cannot be looked for")
    return text
