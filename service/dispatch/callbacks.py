"""Completion callbacks: what a start asks Temporal to call once the workflow has closed.

Anyone who may describe the workflow sees the callback's headers. So they hold no secret, but a signature
that is good for this one workflow. Temporal keeps them, and the address, as they were at the start, through
continue-as-new and resets.

Source: `StartWorkflowExecutionRequest.completion_callbacks`, and what Temporal Server 1.32.0 calls.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Callback, Link, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.signing import NotOurs, Signer
from service.errors import ConfigurationError
from service.temporal.client import no_answer
from service.temporal.closed import Run

TOPIC_HEADER, SIGNATURE_HEADER = "turnout-topic", "turnout-signature"
LINK_HEADER = "nexus-link"

# The workflow's id is percent-encoded, and with it any / and >.
_LINK = re.compile(r"<temporal:///namespaces/([^/>]+)/workflows/([^/>]+)/([^/>]+)/history[?>]")

_REFUSED = re.compile("invalid url|attaching workflow callbacks|cannot attach")


@dataclass(frozen=True, slots=True)
class Called:
    """What a callback says: this run has closed, and that topic is to be told."""

    run: Run
    topic: str


class Callbacks:
    """Asks for callbacks, and tells those that it asked for from all other calls.

    Args:
        url: Where Temporal reaches us.
        secrets: The first signs; all of them are accepted, so that a secret can be changed while workflows
            run that were started with the one before.
    """

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        self.url = url
        self._signer = Signer(secrets)

    def asked_for(self, namespace: str, workflow_id: str, topic: str) -> Callback:
        """The callback by which `topic` is told how the workflow ended."""
        signature = self._signer.signature(_said(namespace, workflow_id, topic))
        return Callback(
            nexus=Callback.Nexus(url=self.url, header={TOPIC_HEADER: topic, SIGNATURE_HEADER: signature})
        )

    def read(self, headers: Mapping[str, str]) -> Called:
        """What a call with these headers says; their names are in lower case.

        Raises:
            NotOurs: We did not ask for it, or not with a secret that is still accepted.
        """
        link = _LINK.search(headers.get(LINK_HEADER, ""))
        if not link:
            raise NotOurs("it does not say which workflow has closed")
        run, topic = Run(*map(unquote, link.groups())), headers.get(TOPIC_HEADER, "")
        said = _said(run.namespace, run.workflow_id, topic)
        if not self._signer.signed(said, headers.get(SIGNATURE_HEADER, "")):
            raise NotOurs("its signature is none of ours")
        return Called(run, topic)


async def check_allowed(client: Client, callbacks: Callbacks) -> None:
    """See that the client's namespace lets starts ask for `callbacks`.

    There is no call that tells. So we ask for a start that can never be made, since one of its links leads
    nowhere, and Temporal looks at callbacks first (Temporal Server 1.32.0). Where another release does it
    the other way round, nothing is learned. Should one not look at links at all, what it starts has no
    worker, and ends within a second.

    Raises:
        ConfigurationError: Temporal would refuse each start.
        Unreachable: Temporal does not answer.
    """
    request = StartWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id="turnout-closing-check",
        workflow_type=WorkflowType(name="turnout-closing-check"),
        task_queue=TaskQueue(name="turnout-closing-check"),
        workflow_execution_timeout=Duration(seconds=1),
        request_id=str(uuid.uuid4()),
        completion_callbacks=[callbacks.asked_for(client.namespace, "turnout-closing-check", "none")],
        links=[Link(workflow_event=Link.WorkflowEvent())],
    )
    try:
        await client.workflow_service.start_workflow_execution(request)
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT and _REFUSED.match(error.message):
            raise ConfigurationError(_how_to_allow(client, callbacks.url, error.message)) from error
        if error.status not in {RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.ALREADY_EXISTS}:
            raise no_answer(client, error) from error


def _how_to_allow(client: Client, url: str, said: str) -> str:
    parts = urlsplit(url)
    allow = json.dumps([{"Pattern": parts.netloc, "AllowInsecure": parts.scheme == "http"}])
    return (
        f"Temporal does not let workflows of namespace {client.namespace} call back at {url}, which routes "
        f"with publish_closing need (it says: {said}); allow it in the server's dynamic configuration:\n"
        f"  callback.allowedAddresses: [{{value: {allow}}}]\n"
        f"  (or temporal server start-dev --dynamic-config-value 'callback.allowedAddresses={allow}'),\n"
        "  set TURNOUT_CLOSING__URL to an address that it allows, or do without: TURNOUT_CLOSING__BY=sweep"
    )


def _said(namespace: str, workflow_id: str, topic: str) -> str:
    return json.dumps(["turnout closing 1", namespace, workflow_id, topic])
