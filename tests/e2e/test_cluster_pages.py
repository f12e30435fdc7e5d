"""The pages in a real browser, before a real cluster: through its Ingress, with two replicas of the api."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Person, browser
from lateen_release import Release, eventually, is_ready, kubectl
from own_certificate import own_certificate
from pages_flow import from_sign_in_to_deletion
from playwright.sync_api import Browser
from tcp_road import TcpRoad

__all__ = ["browser"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
REPLICAS = 2


@pytest.fixture
def replicas(release: Release) -> Iterator[None]:
    """As many as the chart has where it isn't a trial."""
    name = f"{release.name}-api"
    before = release.get("deployment", name)["spec"]["replicas"]

    def scale(number: int) -> None:
        kubectl("scale", f"deployment/{name}", f"--replicas={number}", "-n", release.namespace)

    scale(REPLICAS)
    eventually(lambda: sum(map(is_ready, release.pods("api"))) == REPLICAS, "two replicas are ready", within_s=120)
    yield
    scale(before)


@pytest.fixture
def endpoint(release: Release, tmp_path: Path) -> Iterator[str]:
    """The Ingress behind something that ends TLS, of which the api is told nothing."""
    certificate, _ = own_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + (tmp_path / "key.pem").read_bytes())
    road = TcpRoad(release.ingress, certificate=both)
    yield road.url
    road.close()


@pytest.mark.usefixtures("replicas")
def test_from_sign_in_to_deletion(browser: Browser, release: Release, endpoint: str) -> None:
    """A session that one replica began is good at the other, for they share nothing but a key."""
    ada = Person(browser, endpoint, ignore_https_errors=True)
    from_sign_in_to_deletion(ada, release.api)
    ada.sign_in(release.token)
    [cookie] = [each for each in ada.context.cookies() if each.get("name") == "lateen_session"]
    assert (cookie.get("secure"), cookie.get("httpOnly"), cookie.get("sameSite")) == (True, True, "Strict")
    ada.close()
