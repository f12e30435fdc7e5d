"""`lateen deploy`: what it makes of its arguments."""

from collections.abc import Callable
from pathlib import Path

from .conftest import Ended, Server


def test_a_folder_has_its_whole_name(lateen: Server, ended: Callable[..., Ended], tmp_path: Path) -> None:
    """`shop.v2` is not the function `shop`."""
    (tmp_path / "shop.v2").mkdir()
    (tmp_path / "shop.v2" / "code.py").write_text("def handler(event, context): pass\n")
    code, _, said = ended("deploy", str(tmp_path / "shop.v2"))
    assert (code, lateen.asked) == (1, [])
    assert said.startswith("error: 'shop.v2' can't be a function's name\nhint: give it one with --name")
