"""Layers unpacked over each other: whatever they hold, a later one wins, and nothing but one folder is written to."""

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from invoker_process import package

from lateen_invoker import artifact
from lateen_invoker.artifact import ArtifactError, unpack_layers
from lateen_invoker.control import Layer


def layer(folder: Path, number: int, files: Mapping[str, str | bytes]) -> Layer:
    content = package(files)
    (folder / f"{number}.zip").write_bytes(content)
    return Layer(f"arn:layer:{number}", (folder / f"{number}.zip").as_uri(), hashlib.sha256(content).hexdigest())


def unpacked(folder: Path, *layers: Mapping[str, str | bytes]) -> dict[str, str]:
    target = folder / "layers"
    unpack_layers([layer(folder, number, files) for number, files in enumerate(layers)], target)
    return {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}


def test_a_later_layer_wins(tmp_path: Path) -> None:
    """File by file; what only an earlier one has stays."""
    first = {"python/a.py": "first", "python/b.py": "first", "bin/tool": "first"}
    second = {"python/a.py": "second", "python/c.py": "second"}
    assert unpacked(tmp_path, first, second) == {
        "python/a.py": "second",
        "python/b.py": "first",
        "python/c.py": "second",
        "bin/tool": "first",
    }


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ({"a": "file"}, {"a/b": "below"}, {"a/b": "below"}),
        ({"a/b/c": "deep", "a/d": "x"}, {"a": "file"}, {"a": "file"}),
        ({"a": "file"}, {"a/": ""}, {}),
        ({"a/b": "kept"}, {"a/": ""}, {"a/b": "kept"}),
        ({"a/b": "file", "x": "kept"}, {"a/b/c/d": "deep"}, {"a/b/c/d": "deep", "x": "kept"}),
    ],
)
def test_a_file_takes_the_place_of_a_folder_and_the_reverse(
    tmp_path: Path, first: dict[str, str], second: dict[str, str], left: dict[str, str]
) -> None:
    assert unpacked(tmp_path, first, second) == left


def test_files_are_read_only_and_programs_can_be_run(tmp_path: Path) -> None:
    """Also what replaces another layer's; folders can be read by whoever the environment is."""
    unpacked(tmp_path, {"a": "1"}, {"a": "2", "bin/b": "3"})
    target = tmp_path / "layers"
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o444
    assert stat.S_IMODE((target / "bin").stat().st_mode) & 0o555 == 0o555
    assert not list(tmp_path.glob("layers.zip"))


def test_another_zip_than_was_deployed_is_not_unpacked(tmp_path: Path) -> None:
    """And it is said which."""
    good, bad = layer(tmp_path, 0, {"a": "1"}), layer(tmp_path, 1, {"b": "1"})
    (tmp_path / "1.zip").write_bytes(package({"b": "evil"}))
    with pytest.raises(ArtifactError, match="arn:layer:1 does not have the SHA-256"):
        unpack_layers([good, bad], tmp_path / "layers")
    (tmp_path / "1.zip").unlink()
    with pytest.raises(ArtifactError, match="the layer arn:layer:1 can't be read"):
        unpack_layers([good, bad], tmp_path / "again")


def test_all_layers_have_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what comes out of them together."""
    monkeypatch.setattr(artifact, "UNPACKED_LIMIT", 100)
    unpacked(tmp_path, {"a": "x" * 50}, {"b": "x" * 50})
    with pytest.raises(ArtifactError, match="arn:layer:2 is larger"):
        unpack_layers([layer(tmp_path, number, {str(number): "x" * 40}) for number in range(3)], tmp_path / "too-much")
