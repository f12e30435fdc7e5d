"""The Python runtime's JSON beside the one that AWS's client uses, on values that nobody thought of."""

import collections
import decimal
import os
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

sys.path.append(str(Path(__file__).parents[2] / "runtimes" / "python3.12"))
from lateen_runtime import json_text
from lateen_runtime.faults import Fault

marshaller = pytest.importorskip("awslambdaric.lambda_runtime_marshaller")

Pair = collections.namedtuple("Pair", "left right")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ODD = PLAIN | st.binary(max_size=4) | st.decimals() | st.sets(st.integers(), max_size=2) | st.complex_numbers()


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = leaves.filter(_is_hashable)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.builds(Pair, inner, inner)
            | st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=12,
    )


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _outcome(encode: Any, value: Any) -> Any:
    try:
        return encode(value)
    except Exception as exc:
        return type(exc), str(exc)


@pytest.mark.parametrize("execution_env", ["AWS_Lambda_python3.12", "AWS_Lambda_python3.11", ""])
@given(value=_nested(PLAIN) | _nested(ODD))
def test_encoding(execution_env: str, value: Any) -> None:
    """The same text, or the same words about why there is none."""
    before = os.environ.get("AWS_EXECUTION_ENV")
    os.environ["AWS_EXECUTION_ENV"] = execution_env
    try:
        theirs = _outcome(marshaller.Encoder().encode, value)
    finally:
        if before is None:
            del os.environ["AWS_EXECUTION_ENV"]
        else:
            os.environ["AWS_EXECUTION_ENV"] = before
    json_text.use_execution_env(execution_env)
    assert _outcome(json_text.to_json, value) == theirs


@given(value=_nested(PLAIN))
def test_decoding(value: Any) -> None:
    """What was encoded is read in the same way, whatever space is around it."""
    text = f" \n{json_text.to_json(value)}\t ".encode()
    theirs = _outcome(marshaller.LambdaMarshaller().unmarshal_request, text)
    if isinstance(theirs, tuple):  # NaN or infinite somewhere, which can be written and not be read
        with pytest.raises(Fault):
            json_text.from_json(text)
    else:
        assert repr(json_text.from_json(text)) == repr(theirs)


@given(text=TEXT)
@example(text="NaN")
@example(text="Infinity")
@example(text='{"a": [-Infinity]}')
@example(text="\ufeff1")
@example(text="\ufeffNaN")
def test_refusals(text: str) -> None:
    """Text that is not JSON is refused by both."""
    ours = _outcome(json_text.from_json, text.encode())
    theirs = _outcome(marshaller.LambdaMarshaller().unmarshal_request, text.encode())
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)


def test_decimals_keep_their_digits() -> None:
    """A decimal is a number with all its digits, and not a float."""
    assert (
        json_text.to_json({"price": decimal.Decimal("1.10000000000000000001")}) == '{"price": 1.10000000000000000001}'
    )
