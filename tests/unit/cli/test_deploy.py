"""`lateen deploy`: what it makes of its arguments."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ended, Server


def test_a_folder_has_its_whole_name(lateen: Server, ended: Callable[..., Ended], tmp_path: Path) -> None:
    """`shop.v2` is not the function `shop`."""
    (tmp_path / "shop.v2").mkdir()
    (tmp_path / "shop.v2" / "code.py").write_text("def handler(event, context): pass\n")
    code, _, said = ended("deploy", str(tmp_path / "shop.v2"))
    assert (code, lateen.asked) == (1, [])
    assert said.startswith("error: 'shop.v2' can't be a function's name\nhint: give it one with --name")


@pytest.mark.parametrize(
    "given", [("--reserved-concurrency", "0"), ("--timeout", "0"), ("--description", ""), ("--no-layers",)]
)
def test_a_template_says_it_all(
    lateen: Server, ended: Callable[..., Ended], tmp_path: Path, given: tuple[str, ...]
) -> None:
    """An option of one function is refused beside it, whatever its value."""
    (tmp_path / "template.yaml").write_text("Transform: AWS::Serverless-2016-10-31\nResources: {}\n")
    code, _, said = ended("deploy", str(tmp_path), *given)
    assert (code, lateen.asked) == (2, [])
    assert f"error: {given[0]} is of one function" in said
