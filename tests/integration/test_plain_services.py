"""Services that know only topics, written with other Kafka clients, answer what workflows ask."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.local import LocalTemporal
from tests.elsewhere.programs import Service, needed, node_service, python_service, why_no_node
from tests.integration.flows import Asked
from tests.integration.service import Place, Said, headers_of, site
from tests.integration.test_calls import ACCEPTED, ROUTES, ask, requests

NAME = "asks"

FOR_ALL_CLIENTS = {"compression.type": "gzip"}
"""What turnout writes comes with LZ4, which kafkajs cannot read by itself: the broker compresses it anew."""


@pytest.fixture(params=["confluent-kafka", "kafkajs"])
async def service(request: pytest.FixtureRequest) -> Service:
    if request.param == "confluent-kafka":
        return python_service()
    needed(why_no_node())
    return await node_service()


async def test_a_plain_service_answers_a_call_and_answers_it_again_without_harm(
    service: Service, kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        site(kafka, temporal.address, tmp_path, ROUTES, topic_settings=FOR_ALL_CLIENTS) as here,
        here.running(),
    ):
        await ask(here, NAME, Asked(topic=here.topics["out"], again=0.3))

        async def asked_again() -> bool:
            return len(await requests(here, NAME)) > 1

        await here.until(asked_again)
        to = (kafka, f"{here.group}.service", here.topics["out"], here.topics["in"])
        async with service.running(tmp_path / "service.log", *to):
            assert await here.workflow(NAME).result() == len(here.workflow_id(NAME))

            async def all_answered() -> Mapping[Place, Mapping[str, str]]:
                replies = {
                    Place(one.topic, one.partition, one.offset): headers_of(one)
                    for one in await here.read("in")
                }
                return replies if len(replies) == len(await requests(here, NAME)) else {}

            replies = await here.until(all_answered)
        await here.past(*replies)
        said = Counter(said for place in replies for said in here.said(place))
        assert said.pop(ACCEPTED) == 1
        assert set(said) <= {Said("accepted", "answered", "by an earlier try")}
        (request, *_) = await requests(here, NAME)
        for reply in replies.values():
            assert reply["correlation"] == request["correlation"]
            assert reply["ce_id"] == f"{request['ce_id']}/reply"
        assert not [headers_of(letter) for letter in await here.letters()]
