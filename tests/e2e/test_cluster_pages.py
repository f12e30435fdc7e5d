"""The pages in a real browser, before a real cluster: through its Ingress, with more than one replica of the api."""

import pytest
from browser import Person, browser
from lateen_release import Release
from pages_flow import from_sign_in_to_deletion
from playwright.sync_api import Browser

__all__ = ["browser"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_from_sign_in_to_deletion(browser: Browser, release: Release) -> None:
    """A session that one replica began is good at the others, for they share nothing but a key."""
    assert len(release.pods("api")) > 1
    ada = Person(browser, release.ingress)
    from_sign_in_to_deletion(ada, release.api)
    ada.close()
