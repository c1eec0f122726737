"""What proxies answer in Temporal's place is never taken for a word of Temporal's."""

from collections.abc import AsyncIterator

import pytest

from service.dispatch.dispatcher import Dispatcher
from service.errors import NotNow
from tests.contract.calls import CANCEL_ORDER, SIGNAL_OR_START, SIGNAL_ORDER, START_ORDER, skipping
from tests.contract.conftest import connected, dispatching
from tests.contract.frontend import Frontend
from tests.integration.proxy import Page, Proxy, proxy
from tests.servers import random_port

HTML = b"<html><head><title>nginx</title></head><body><h1>Nothing to see</h1></body></html>"
STATUSES = [200, 204, 302, 400, 401, 403, 404, 413, 429, 500, 502, 503, 504]
COMMANDS = {
    "start": skipping(START_ORDER, "running", "closed"),
    "signal": skipping(SIGNAL_ORDER, "missing", "closed"),
    "signal or start": skipping(SIGNAL_OR_START, "closed"),
    "cancel": skipping(CANCEL_ORDER, "missing", "closed"),
}


@pytest.fixture(scope="module")
async def before_temporal(only_frontend: Frontend) -> AsyncIterator[Proxy]:
    async with proxy(only_frontend.address, random_port()) as one:
        yield one


@pytest.fixture(scope="module")
async def through_the_proxy(before_temporal: Proxy) -> Dispatcher:
    return dispatching(await connected(before_temporal.address))


@pytest.mark.parametrize("html", [b"", HTML], ids=["bare", "a page"])
@pytest.mark.parametrize("http_2", [True, False], ids=["HTTP/2", "HTTP/1.1"])
@pytest.mark.parametrize("status", STATUSES)
async def test_what_a_proxy_answers_by_itself_waits_whatever_the_routes_rules(
    temporal_says: Frontend,
    before_temporal: Proxy,
    through_the_proxy: Dispatcher,
    status: int,
    html: bytes,
    *,
    http_2: bool,
) -> None:
    before_temporal.become(Page(status, http_2, html))
    for command in COMMANDS.values():
        # The first call or two may meet the old connection, which was cut.
        for _ in range(3):
            with pytest.raises(NotNow) as raised:
                await through_the_proxy.dispatch(command)
            assert type(raised.value) is NotNow
    assert before_temporal.turned_down > 0
    assert temporal_says.calls == []
