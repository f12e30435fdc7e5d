"""Commands about what there is none of: they say so."""

from collections.abc import Callable

import pytest

from .conftest import Ended, Server, listed, problem


@pytest.mark.parametrize(
    ("arguments", "path", "hint"),
    [
        (("layer", "delete", "nope", "1"), "/api/workspaces/w1/layers/nope/versions/1", "lateen layer list NAME"),
        (
            ("provisioned", "delete", "hello", "1"),
            "/api/functions/f1/provisioned-concurrency/1",
            "lateen provisioned list hello",
        ),
    ],
)
def test_nothing_is_removed(
    lateen: Server, ended: Callable[..., Ended], arguments: tuple[str, ...], path: str, hint: str
) -> None:
    """The server takes a second removal as done, a person may have mistyped."""
    lateen.has_function()
    lateen.answers[f"GET {path}"] = problem(404, "not-found", "no such thing")
    lateen.answers[f"DELETE {path}"] = {}
    code, _, said = ended(*arguments)
    assert (code, lateen.paths("DELETE")) == (1, [])
    assert said.startswith(f"error: no such thing (not-found)\nhint: '{hint}'")
    lateen.answers[f"GET {path}"] = {}
    assert ended(*arguments)[0] == 0
    assert lateen.paths("DELETE") == [path]


def test_a_layer_that_is_not_there(lateen: Server, ended: Callable[..., Ended]) -> None:
    """Others may be."""
    lateen.answers["GET /api/workspaces/w1/layers/nope/versions"] = listed([])
    code, _, said = ended("layer", "list", "nope")
    assert (code, said) == (0, "there is no layer 'nope'; 'lateen layer publish nope PATH' makes one\n")


def test_a_variable_that_is_not_there(lateen: Server, ended: Callable[..., Ended]) -> None:
    lateen.has_function(state="Active", state_reason=None)
    code, _, said = ended("update", "hello", "--unset", "NOPE", "-o", "json")
    assert (code, said) == (0, "there is no variable 'NOPE' to remove\n")
