"""What is looked at in JSON before it is parsed, in bounded time."""

import json
import time
from contextlib import suppress
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen.api import json_text
from lateen.api.json_text import MAX_DEPTH, check
from lateen.api.problems import Refusal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**60), 10**60) | st.text(st.characters(blacklist_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(blacklist_characters="\0")), inner)
    ),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_ordinary_json_passes(value: object, ascii_only: bool) -> None:
    """Whatever its strings hold: quotes, brackets, escapes, digits."""
    check(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@given(st.text(alphabet='"\\[]{}0u', max_size=60))
def test_any_text_ends(text: str) -> None:
    """It passes or is refused; nothing else happens."""
    with suppress(Refusal):
        check(text.encode())


@given(VALUES, st.sampled_from([2, 3, 64]))
def test_large_json_passes_piece_by_piece(value: object, piece: int) -> None:
    """Wherever a piece ends: within a string, an escape or a number."""
    with patch.object(json_text, "_PIECE", piece):
        check(json.dumps([value, 'a\\b"]', 10**60, "\\" * 9]).encode())
        with pytest.raises(Refusal, match="nested"):
            check(json.dumps([value]).encode() + b"[" * (MAX_DEPTH + 1))


@given(st.text(alphabet="\\u0a", max_size=40))
def test_an_escaped_nul_is_found(inside: str) -> None:
    """And an escaped backslash before `u0000` is none."""
    body = f'"{inside}"'.encode()
    try:
        holds_nul = "\0" in json.loads(body)
    except ValueError:
        return
    try:
        check(body)
    except Refusal:
        assert holds_nul
    else:
        assert not holds_nul


def test_depth() -> None:
    check(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    check(b"[]" * 1000)
    check(b'"' + b"[" * 1000 + b'"')
    with pytest.raises(Refusal, match="nested"):
        check(b"[" * (MAX_DEPTH + 1))


@pytest.mark.parametrize("escapes", range(6))
def test_nul(escapes: int) -> None:
    """`\\u0000` is one behind an even number of backslashes, and text behind an odd one."""
    body = b'"' + b"\\" * escapes + b'u0000"'
    if escapes % 2:
        with pytest.raises(Refusal, match="NUL"):
            check(body)
    else:
        check(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'"' * 10_000_000,
        b'"' + b"\\" * 10_000_000,
        (b'"' + b"a" * 100) * 100_000,
        b"1" * 10_000_000,
        (b"1" * 60 + b",") * 160_000,
        b'{"code":"' + b"A" * 10_000_000 + b'"}',
        b'{"code":"' + b"\\n" * 5_000_000 + b'"}',
        b" " * 10_000_000,
    ],
    ids=["brackets", "quotes", "backslashes", "strings", "digits", "numbers", "code", "escapes", "spaces"],
)
def test_ten_megabytes_of_anything(body: bytes) -> None:
    """Take a second at most on a slow machine; most take milliseconds."""
    began = time.process_time()
    with suppress(Refusal):
        check(body)
    assert time.process_time() - began < 1.5
