"""What docs/api.md shows is what a running service answers."""

import json
import shlex
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.local import LocalTemporal
from service.settings import ApiSettings
from tests.integration.api_site import Asked, asked_site
from tests.pages import page
from tests.servers import random_port

ANYTHING = "…"


@pytest.fixture(scope="module")
async def asked(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asked]:
    api = ApiSettings(http_address=f"127.0.0.1:{random_port()}")
    async with asked_site(kafka, temporal.address, tmp_path_factory.mktemp("page"), api) as here:
        yield here


async def test_each_call_of_the_page_is_answered_as_it_says(asked: Asked) -> None:
    here = {
        "127.0.0.1:7245": asked.site.settings.api.http_address,
        "shop.order.placed": "placed",
        "shop.orders": asked.site.topics["in"],
        "order-placed": "echo",
        "order/": asked.id(""),
        "account%2F": asked.id("").replace("/", "%2F"),
        "account/": asked.id(""),
        '"Account"': '"Tally"',
        '"accounts"': f'"{asked.site.group}"',
        "/deposit": "/add",
        "/balance": "/sum",
    }
    shown = [(block.kind, _with(here, block.text)) for block in page("docs/api.md").blocks("sh", "json")]
    asks = [(text, shown[n + 1]) for n, (kind, text) in enumerate(shown) if kind == "sh" and "curl" in text]
    assert len(asks) == 3
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        for text, (kind, said) in asks:
            assert kind == "json"
            answers = [(await _as_curl(client, line)).json() for line in text.splitlines()]
            wanted = json.loads(said)
            assert _fit(answers, wanted if isinstance(wanted, list) else [wanted]), answers


def _with(names: dict[str, str], text: str) -> str:
    for name, other in names.items():
        text = text.replace(name, other)
    return text


async def _as_curl(client: httpx.AsyncClient, line: str) -> httpx.Response:
    name, *words = shlex.split(line)
    assert name == "curl"
    method, url, headers, body = "GET", "", {}, b""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                header, _, value = words.pop(0).partition(": ")
                headers[header] = value
            case "-d":
                body = words.pop(0).encode()
            case word:
                url = word
    return await client.request(method, url, headers=headers, content=body)


def _fit(got: Any, wanted: Any) -> bool:
    if wanted == ANYTHING:
        return got is not None
    if isinstance(wanted, dict):
        return (
            isinstance(got, dict)
            and got.keys() == wanted.keys()
            and all(_fit(got[name], one) for name, one in wanted.items())
        )
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(_fit, got, wanted))
    return bool(got == wanted)
