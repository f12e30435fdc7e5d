"""Whose word is taken about whom a call comes from."""

import time

import pytest

from lateen.gateway.proxies import Proxies, Source, plain_address

PROXIES = Proxies(["10.0.0.0/8", "fd00::/8"])
PEER = "10.1.2.3"


@pytest.mark.parametrize(
    ("headers", "source"),
    [
        ([], Source(PEER, "http", 80, b"")),
        ([("for", "203.0.113.9")], Source("203.0.113.9", "http", 80, b"")),
        ([("for", "203.0.113.9"), ("proto", "https")], Source("203.0.113.9", "https", 443, b"")),
        ([("for", "203.0.113.9"), ("proto", "HTTPS"), ("port", "8443")], Source("203.0.113.9", "https", 8443, b"")),
        ([("for", "203.0.113.9"), ("proto", "https, http")], Source("203.0.113.9", "http", 80, b"")),
        # What the caller said of itself stays what it is: said.
        ([("for", "1.1.1.1, 203.0.113.9")], Source("203.0.113.9", "http", 80, b"1.1.1.1")),
        ([("for", "10.9.9.9, 203.0.113.9")], Source("203.0.113.9", "http", 80, b"10.9.9.9")),
        ([("for", "1.1.1.1"), ("for", "203.0.113.9")], Source("203.0.113.9", "http", 80, b"1.1.1.1")),
        # Two of our proxies, one behind the other.
        ([("for", "203.0.113.9, 10.5.5.5")], Source("203.0.113.9", "http", 80, b"")),
        ([("for", "1.1.1.1,203.0.113.9,10.5.5.5")], Source("203.0.113.9", "http", 80, b"1.1.1.1")),
        # A caller inside of the trusted networks.
        ([("for", "10.7.7.7")], Source("10.7.7.7", "http", 80, b"")),
        ([("for", "2001:db8::1")], Source("2001:db8::1", "http", 80, b"")),
        ([("for", "[2001:db8::1]:1234")], Source("2001:db8::1", "http", 80, b"")),
        ([("for", "203.0.113.9:1234")], Source("203.0.113.9", "http", 80, b"")),
        ([("for", "unknown")], Source(PEER, "http", 80, b"unknown")),
        ([("for", "")], Source(PEER, "http", 80, b"")),
        ([("for", "203.0.113.9 https 1")], Source(PEER, "http", 80, b"203.0.113.9 https 1")),
        ([("proto", "gopher"), ("port", "x")], Source(PEER, "http", 80, b"")),
        ([("port", "0")], Source(PEER, "http", 80, b"")),
        ([("port", "99999999999")], Source(PEER, "http", 80, b"")),
        ([("port", "000001" + "9" * 20)], Source(PEER, "http", 80, b"")),
        ([("port", "1" * 5000)], Source(PEER, "http", 80, b"")),
    ],
)
def test_the_source_is_the_last_address_that_no_trusted_proxy_has(
    headers: list[tuple[str, str]], source: Source
) -> None:
    """Read from the end, for the beginning is anybody's; the port and the protocol are the proxy's word."""
    raw = [(f"x-forwarded-{name}".encode(), value.encode()) for name, value in headers]
    assert PROXIES.source(PEER, raw) == source


def test_a_long_chain_costs_no_more_than_a_short_one() -> None:
    """A caller inside of a trusted network can write as many trusted addresses as fit into a head."""
    source = PROXIES.source(PEER, [(b"x-forwarded-for", b",".join([b"10.1.1.1"] * 1000))])
    assert source.address == "10.1.1.1"
    assert source.chain.count(b",") == 1000 - 32 - 1


@pytest.mark.parametrize("name", [b"for", b"proto", b"port"])
def test_a_long_line_of_blanks_keeps_nobody_waiting(name: bytes) -> None:
    """8,000 of them took 0.6 s once, in which no other call was served."""

    def seconds(blanks: int) -> float:
        line = b"x-forwarded-%b: 1.1.1.1%b2" % (name, b" " * blanks)
        began_s = time.perf_counter()
        PROXIES.plain_source(PEER, b"GET /x HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n" % line)
        return time.perf_counter() - began_s

    assert min(seconds(8_000) for _ in range(3)) < 0.05


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.0.0.1", True), ("fd00::1", True), ("11.0.0.1", False), ("::1", False), ("", False), ("x", False)],
)
def test_who_is_trusted(address: str, trusted: bool) -> None:
    """By networks, of both kinds; asked twice, answered twice."""
    assert [PROXIES.trust(address), PROXIES.trust(address)] == [trusted, trusted]


def test_a_plain_request_loses_what_was_taken_from_it() -> None:
    """All spellings of the three headers, and nothing else; what a caller said of itself goes on, once."""
    request = (
        b"POST /x HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 1.1.1.1 ,  203.0.113.9 \r\nx-forwarded-proto:https\r\n"
        b"X-FORWARDED-PORT: 444\r\nx-forwarded-host: b\r\ncontent-length: 24\r\n\r\nx-forwarded-for: 6.6.6.6"
    )
    source, rest = PROXIES.plain_source(PEER, request)
    assert source == Source("203.0.113.9", "https", 444, b"1.1.1.1")
    assert rest == (
        b"POST /x HTTP/1.1\r\nhost: a\r\nx-forwarded-host: b\r\ncontent-length: 24\r\nx-forwarded-for: 1.1.1.1\r\n"
        b"\r\nx-forwarded-for: 6.6.6.6"
    )


def test_a_mapped_address_is_the_one_it_maps() -> None:
    """A socket for both kinds shows IPv4 callers in IPv6's clothes."""
    assert plain_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert plain_address("::ffff:1") == "::ffff:1"
    assert plain_address("2001:db8::1") == "2001:db8::1"


def test_what_is_no_network_is_refused() -> None:
    """A host with bits behind its mask, or a name."""
    for wrong in ("10.0.0.1/8", "proxy.example", ""):
        with pytest.raises(ValueError, match=r"host bits|network"):
            Proxies([wrong])
