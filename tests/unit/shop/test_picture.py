"""The picture of the sample's routes in the documentation is theirs."""

from pathlib import Path

from service.documents.flow import flow_of
from service.documents.picture import svg
from service.routing.table import load_routes

ROOT = Path(__file__).parents[3]


def test_the_picture_in_the_repository_is_up_to_date() -> None:
    anew = "turnout routes graph deploy/demo/routes --format svg --output docs/shop-routes.svg"
    drawn = svg(flow_of(load_routes(ROOT / "deploy/demo/routes")))
    assert (ROOT / "docs/shop-routes.svg").read_text() == drawn, f"draw it anew: {anew}"
