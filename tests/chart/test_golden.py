"""What the chart makes, word for word: a change of a template shows as a change of these files."""

import os
from pathlib import Path

import pytest
from chart import PROFILES, rendered_text

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["defaults", "everything"])
def test_rendering_is_what_is_checked_in(name: str) -> None:
    """hack/update-chart-golden writes the files; a review sees what a change does to an installation."""
    text = rendered_text(PROFILES[name])
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("LATEEN_UPDATE_GOLDEN") == "true":
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8"), "hack/update-chart-golden writes the new rendering"


@pytest.mark.parametrize("name", PROFILES)
def test_rendering_twice_is_the_same(name: str) -> None:
    """No template rolls dice: an upgrade without a change changes nothing, and GitOps tools see no drift."""
    assert rendered_text(PROFILES[name]) == rendered_text(PROFILES[name])
