"""The pages in a real browser, before a real cluster: through its Ingress, with two replicas of the api."""

from collections.abc import Iterator

import pytest
from browser import Person, browser
from lateen_release import Release, eventually, is_ready, kubectl
from pages_flow import from_sign_in_to_deletion
from playwright.sync_api import Browser

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


@pytest.mark.usefixtures("replicas")
def test_from_sign_in_to_deletion(browser: Browser, release: Release) -> None:
    """A session that one replica began is good at the other, for they share nothing but a key."""
    ada = Person(browser, release.ingress)
    from_sign_in_to_deletion(ada, release.api)
    ada.close()
