"""An API key that changes in its file is the one that later calls bring."""

from pathlib import Path

import pytest

from service.temporal.access import Access
from service.temporal.client import check_answers, connect, for_namespace
from service.temporal.renewal import Renewal
from tests.contract.frontend import Frontend


@pytest.fixture
def key_file(tmp_path: Path, temporal_says: Frontend, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_says.address)
    monkeypatch.setenv("TEMPORAL_TLS", "false")
    file = tmp_path / "key"
    file.write_text("first\n")
    return file


async def test_an_api_key_is_replaced_without_a_restart(key_file: Path, temporal_says: Frontend) -> None:
    access = Access(api_key_file=key_file)
    client = await connect(access)
    elsewhere, renewal = for_namespace(client, "elsewhere"), Renewal(client, access)

    async def brought() -> list[object]:
        temporal_says.forget()
        await check_answers(client)
        await check_answers(elsewhere)
        return [asked.metadata["authorization"] for asked in temporal_says.asked]

    def renew() -> None:
        key_file.write_text("second\n")

    def lose() -> None:
        key_file.unlink()

    assert await brought() == ["Bearer first"] * 2
    await renewal.look()
    assert await brought() == ["Bearer first"] * 2
    renew()
    await renewal.look()
    assert await brought() == ["Bearer second"] * 2
    lose()
    await renewal.look()
    assert await brought() == ["Bearer second"] * 2
