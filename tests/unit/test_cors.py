"""CORS of function URLs: what preflights and answers say, by configuration and request."""

import pytest

from lateen_invoker.cors import is_preflight, lines_for, preflight, with_lines
from lateen_invoker.urls import Cors

A, B = "https://a.example", "https://b.example"


def asks(origin: str = A, method: str = "PUT", headers: str | None = None) -> dict[str, str]:
    asked = {"origin": origin, "access-control-request-method": method}
    return asked if headers is None else asked | {"access-control-request-headers": headers}


def parsed(lines: bytes) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in lines.decode().split("\r\n")[:-1]]
    assert len(dict(pairs)) == len(pairs)
    return {name.removeprefix("access-control-"): value for name, value in pairs}


def test_what_a_preflight_is() -> None:
    """OPTIONS with an origin and a method; any other OPTIONS is the function's."""
    assert is_preflight("OPTIONS", asks())
    assert not is_preflight("GET", asks())
    assert not is_preflight("OPTIONS", {"origin": A})
    assert not is_preflight("OPTIONS", {"access-control-request-method": "PUT"})


@pytest.mark.parametrize(
    ("cors", "asked", "said"),
    [
        (Cors(allow_origins=("*",), allow_methods=("*",)), asks(), {"allow-origin": "*", "allow-methods": "PUT"}),
        (
            Cors(allow_origins=("*",), allow_methods=("*",), allow_headers=("*",), max_age_s=0),
            asks(headers="x-one, x-two"),
            {"allow-origin": "*", "allow-methods": "PUT", "allow-headers": "x-one, x-two", "max-age": "0"},
        ),
        (
            Cors(allow_origins=(A, B), allow_methods=("GET", "PUT"), allow_headers=("X-One", "x-two")),
            asks(headers="x-one"),
            {"allow-origin": A, "allow-methods": "GET,PUT", "allow-headers": "X-One,x-two", "vary": "Origin"},
        ),
        (
            Cors(allow_origins=("*",), allow_methods=("PUT",), allow_credentials=True),
            asks(),
            {"allow-origin": A, "allow-methods": "PUT", "allow-credentials": "true", "vary": "Origin"},
        ),
        (Cors(allow_origins=(B,), allow_methods=("*",)), asks(), {"vary": "Origin"}),
        (Cors(allow_origins=("*",), allow_methods=("GET",)), asks(), {}),
        (Cors(allow_origins=("*",), allow_methods=("put",)), asks(), {}),
        (Cors(allow_origins=("*",), allow_methods=("*",), allow_headers=("x-one",)), asks(headers="x-one,x-two"), {}),
        (Cors(allow_origins=("*",)), asks(), {}),
        (Cors(allow_methods=("*",)), asks(), {"vary": "Origin"}),
    ],
)
def test_preflights(cors: Cors, asked: dict[str, str], said: dict[str, str]) -> None:
    assert parsed(preflight(cors, asked)) == said


@pytest.mark.parametrize(
    ("cors", "origin", "said"),
    [
        (Cors(allow_origins=("*",), expose_headers=("a", "b")), A, {"allow-origin": "*", "expose-headers": "a,b"}),
        (Cors(allow_origins=(A,), allow_credentials=False), A, {"allow-origin": A, "vary": "Origin"}),
        (Cors(allow_origins=(A,), expose_headers=("x-a",)), B, {"vary": "Origin"}),
        (Cors(allow_origins=(A,), expose_headers=("x-a",)), None, {"vary": "Origin"}),
        (Cors(allow_origins=("*",)), None, {}),
    ],
)  # fmt: skip
def test_answers(cors: Cors, origin: str | None, said: dict[str, str]) -> None:
    """Nothing to origins that may not read it and callers that are no browsers; caches know what it depends on."""
    assert parsed(lines_for(cors, origin)) == said


def test_the_functions_own_headers_give_way() -> None:
    head = b"x-a: access-control-b\r\naccess-control-allow-origin: *\r\naccess-control-max-age: 1\r\nvary: Accept\r\n"
    kept = b"x-a: access-control-b\r\nvary: Accept\r\n"
    assert with_lines(head, b"access-control-allow-origin: a\r\n") == kept + b"access-control-allow-origin: a\r\n"
    assert with_lines(head, b"") == kept
