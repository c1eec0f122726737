"""What is written of routes is read by those whom it is for: AsyncAPI's own parser, and Mermaid's."""

import json
from pathlib import Path

import pytest

from service.dispatch.contracts import Contracts
from service.documents.asyncapi import About, asyncapi
from service.documents.flow import flow_of
from service.documents.mermaid import mermaid
from service.routing.table import load_routes
from service.temporal.worker import find
from tests.elsewhere.programs import needed, read_by, why_no_node
from tests.unit.test_asyncapi import ODD_CONTRACTS, ROUTES, WORKFLOWS, written
from tests.unit.test_flow import HOSTILE

SHOP = Path(__file__).parents[2] / "deploy" / "demo" / "routes"


@pytest.fixture(autouse=True)
def _node() -> None:
    needed(why_no_node())


def hostile(folder: Path) -> Path:
    """Routes whose types, workflows, ids and signals have the worst of names, from a pattern."""
    routes = [
        {
            "name": f"route/{number}",
            "from": "in-*.*",
            "type": name,
            "start": {"workflow": name, "id": f"{name} ${{data.id}}", "task_queue": "q", "input": "${data}"},
        }
        for number, name in enumerate(HOSTILE)
    ]
    routes += [
        {
            "name": f"signal.{number}",
            "from": "in-*.*",
            "type": name,
            "signal": {"to": f"x{name}", "name": name},
        }
        for number, name in enumerate(HOSTILE)
    ]
    file = folder / "hostile.json.yaml"
    file.write_text(json.dumps({"version": 1, "topics": {"in-*.*": {}}, "routes": routes}))
    return file


async def test_asyncapis_own_parser_takes_the_documents(tmp_path: Path) -> None:
    about = About("odd: <title>", "2.1", {"production": ("kafka.shop:9093", "kafka-secure")})
    documents = [
        asyncapi(load_routes(SHOP), Contracts(find(["workflows.shop"]).workflows), About()),
        asyncapi(load_routes(written(tmp_path, ROUTES)), Contracts(WORKFLOWS), about),
        asyncapi(load_routes(written(tmp_path, ODD_CONTRACTS)), Contracts(()), About()),
        asyncapi(load_routes(hostile(tmp_path)), Contracts(()), About()),
    ]
    files = [tmp_path / f"{number}.json" for number, _ in enumerate(documents)]
    for file, document in zip(files, documents, strict=True):
        file.write_text(json.dumps(document))
    shop, everything, odd, hostiles = await read_by("asyncapi", *files)
    assert [one["said"] for one in (shop, everything, odd, hostiles)] == [[], [], [], []]
    assert {one["id"]: one["events"] for one in shop["operations"]}["stock-answered"] == [
        "stock.reserved",
        "stock.lacking",
    ]
    assert [one["events"] for one in hostiles["operations"]] == [[name] for name in (*HOSTILE, *HOSTILE)]


async def test_mermaids_own_parser_reads_the_names_as_they_are(tmp_path: Path) -> None:
    flows = [flow_of(load_routes(path)) for path in (SHOP, hostile(tmp_path))]
    files = [tmp_path / f"{number}.mmd" for number, _ in enumerate(flows)]
    for file, flow in zip(files, flows, strict=True):
        file.write_text(mermaid(flow))
    for flow, read in zip(flows, await read_by("mermaid", *files), strict=True):
        assert list(read["nodes"].values()) == [[node.name, *node.details] for node in flow.nodes]
        assert read["edges"] == [[f"n{one}", f"n{other}"] for one, other in flow.edges]
        assert {kind for kinds in read["classes"].values() for kind in kinds} == {
            "topic",
            "route",
            "workflow",
        }
