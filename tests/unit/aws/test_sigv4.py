"""SigV4, the server's side: whatever botocore signs is accepted, and nothing else is."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.domain.sigv4 import (
    EMPTY_SHA256,
    Signable,
    Signature,
    SignatureRefused,
    canonical_request,
    check_time,
    is_signed,
    parse,
    verify,
)

KEY, SECRET = "LTNABCDEFGHIJKLMNOPQ", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SERVER = "http://127.0.0.1:8000"
TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
# Hypothesis draws texts from the code under test too, and a presigned URL has these names already.
PARAMETERS = TEXT.filter(lambda name: not name.startswith("X-Amz-"))
# What a header can hold so that every HTTP client sends the same bytes.
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z").filter(
    lambda n: (
        n not in {"host", "date", "authorization", "expect", "connection", "user-agent", "transfer-encoding"}
        and not n.startswith(("x-amz", "content-", "x-amzn"))
    )
)


def signed(method: str, url: str, *, body: bytes = b"", query: bool = False, **headers: str) -> Signable:
    """The request as botocore signs and sends it."""
    request = AWSRequest(method, url, data=body, headers={name.replace("_", "-"): v for name, v in headers.items()})
    credentials = Credentials(KEY, SECRET)
    auth = SigV4QueryAuth if query else SigV4Auth
    auth(credentials, "lambda", "eu-west-1").add_auth(request)
    return as_sent(request.prepare())


def signed_without(left_out: str, **headers: str) -> Signable:
    """A request whose signature is right and says nothing of that header, though it is sent."""

    class Careless(SigV4Auth):
        def headers_to_sign(self, request: AWSRequest) -> Any:
            found = super().headers_to_sign(request)
            del found[left_out]
            return found

    request = AWSRequest("GET", f"{SERVER}/", headers={name.replace("_", "-"): v for name, v in headers.items()})
    Careless(Credentials(KEY, SECRET), "lambda", "eu-west-1").add_auth(request)
    return as_sent(request.prepare())


def presigned(*, expires_s: int) -> Signable:
    request = AWSRequest("GET", f"{SERVER}/2015-03-31/functions")
    SigV4QueryAuth(Credentials(KEY, SECRET), "lambda", "eu-west-1", expires=expires_s).add_auth(request)
    return as_sent(request.prepare())


def as_sent(prepared: Any) -> Signable:
    parts = urlsplit(prepared.url)
    headers = [(name.lower().encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
               for name, value in prepared.headers.items()]  # fmt: skip
    return Signable(prepared.method, parts.path.encode(), parts.query.encode(),
                    [*headers, (b"host", parts.netloc.encode())])  # fmt: skip


def accepted(request: Signable, body: bytes = b"", secret: str = SECRET) -> Signature:
    signature = parse(request)
    verify(request, signature, secret=secret, payload_sha256=hashlib.sha256(body).hexdigest())
    return signature


def refusal(request: Signable, body: bytes = b"", secret: str = SECRET) -> str:
    with pytest.raises(SignatureRefused) as refused:
        accepted(request, body, secret)
    return refused.value.code


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    segments=st.lists(TEXT, max_size=5),
    pairs=st.lists(st.tuples(PARAMETERS, TEXT), max_size=5),
    body=st.binary(max_size=100),
    headers=st.dictionaries(NAMES, VALUES, max_size=5),
    query=st.booleans(),
)
def test_what_botocore_signs_is_accepted(
    method: str, segments: list[str], pairs: list[tuple[str, str]], body: bytes, headers: dict[str, str], query: bool
) -> None:
    """Both forms, with any path, query, header and body; and not with another body, secret, method or query."""
    path = "/".join(quote(segment, safe="") for segment in segments)
    text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    if query:
        # botocore takes the body of what it presigns for parameters, and a name's last value for the only one.
        body, text = b"", "&".join({pair.partition("=")[0]: pair for pair in text.split("&")}.values())
    request = signed(method, f"{SERVER}/{path}?{text}", body=body, query=query, **headers)
    signature = accepted(request, body)
    assert (signature.access_key_id, signature.service, signature.region) == (KEY, "lambda", "eu-west-1")
    assert refusal(request, body + b".") == "InvalidSignatureException"
    assert refusal(request, body, SECRET[:-1]) == "InvalidSignatureException"
    other = Signable("PATCH", request.path, request.query, request.headers)
    assert refusal(other, body) == "InvalidSignatureException"
    more = Signable(request.method, request.path, request.query + b"&Qualifier=1", request.headers)
    assert refusal(more, body) == "InvalidSignatureException"
    longer = Signable(request.method, request.path + b"/x", request.query, request.headers)
    assert refusal(longer, body) == "InvalidSignatureException"


@pytest.mark.parametrize(
    "path",
    [
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af%3Alive/invocations",
        "/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:f",
        "/2015-03-31//functions///f/",
        "/2015-03-31/functions/./f/../g",
        "/2017-03-31/tags/arn%3Aaws%2Fx",
        "/%E2%82%AC/a%20b/~-._",
    ],
)
@pytest.mark.parametrize("text", ["", "?Marker=&MaxItems=1", "?b=2&a=1&a=0", "?Qualifier=%24LATEST", "?a=1+2", "?flag"])
def test_paths_and_queries_as_clients_write_them(path: str, text: str) -> None:
    """Encoded or not, with dots, doubled slashes, values without a name, a plus."""
    accepted(signed("GET", SERVER + path + text))
    accepted(signed("GET", SERVER + path + text, query=True))


def test_header_values_are_trimmed() -> None:
    """What proxies and clients do to spaces changes no signature; what they do to anything else does."""
    request = signed("GET", f"{SERVER}/", x_amz_meta="a  b   c")
    headers = [(n, b"   a b c " if n == b"x-amz-meta" else v) for n, v in request.headers]
    accepted(Signable("GET", request.path, request.query, headers))
    headers = [(n, b"a bc" if n == b"x-amz-meta" else v) for n, v in request.headers]
    assert refusal(Signable("GET", request.path, request.query, headers)) == "InvalidSignatureException"


def test_repeated_headers_are_joined() -> None:
    """In the order in which they came. The case is get-header-value-order of AWS's published suite."""
    headers = [
        (b"host", b"example.amazonaws.com"),
        (b"my-header1", b"value4"),
        (b"my-header1", b"value1"),
        (b"x-amz-date", b"20150830T123600Z"),
    ]
    names = ("host", "my-header1", "x-amz-date")
    found = canonical_request(Signable("GET", b"/", b"", headers), suite_signature(names), "", EMPTY_SHA256)
    assert found == (
        b"GET\n/\n\nhost:example.amazonaws.com\nmy-header1:value4,value1\nx-amz-date:20150830T123600Z\n\n"
        b"host;my-header1;x-amz-date\n" + EMPTY_SHA256.encode()
    )


def suite_signature(names: tuple[str, ...]) -> Signature:
    return Signature(
        access_key_id="AKIDEXAMPLE", time="20150830T123600Z", time_s=0, region="us-east-1", service="service",
        signed_headers=names, signature="0" * 64, expires_s=None, security_token=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "query", "signature"),
    [
        (b"/", b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (b"/", b"Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        (b"/example/..", b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (b"/./", b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ],
    ids=["get-vanilla", "get-vanilla-query-order-key-case", "get-relative", "get-slash-dot-slash"],
)
def test_published_suite(path: bytes, query: bytes, signature: str) -> None:
    """Cases of AWS's Signature Version 4 test suite, with its key."""
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )
    headers = [
        (b"host", b"example.amazonaws.com"),
        (b"x-amz-date", b"20150830T123600Z"),
        (b"authorization", authorization.encode()),
    ]
    accepted(Signable("GET", path, query, headers), secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def test_host_and_x_amz_headers_must_be_signed() -> None:
    """A header that somebody put in on the way is nothing that the caller said."""
    request = signed("POST", f"{SERVER}/2015-03-31/functions/f/invocations", body=b"{}")
    added = [*request.headers, (b"x-amz-invocation-type", b"DryRun")]
    assert refusal(Signable("POST", request.path, b"", added), b"{}") == "InvalidSignatureException"
    for left_out in ("host", "x-amz-client-context"):
        without = signed_without(left_out, x_amz_client_context="e30=")
        with pytest.raises(SignatureRefused, match=f"'{left_out}' must be a 'SignedHeader'"):
            accepted(without)
    harmless = [*request.headers, (b"user-agent", b"x"), (b"x-amzn-trace-id", b"Root=1")]
    accepted(Signable("POST", request.path, b"", harmless), b"{}")


def test_a_signed_header_that_is_gone() -> None:
    """What was taken out on the way is missed, and not taken for a fault of ours."""
    request = signed("GET", f"{SERVER}/", x_of_mine="1")
    headers = [(name, value) for name, value in request.headers if name != b"x-of-mine"]
    assert refusal(Signable("GET", request.path, b"", headers)) == "InvalidSignatureException"


def test_there_is_one_signature() -> None:
    """Of two, others may look at the other one."""
    request = signed("GET", f"{SERVER}/")
    twice = [*request.headers, (b"authorization", b"Bearer ltn_x")]
    assert refusal(Signable("GET", request.path, b"", twice)) == "IncompleteSignatureException"
    both = Signable("GET", request.path, presigned(expires_s=60).query, request.headers)
    assert refusal(both) == "IncompleteSignatureException"
    dated = Signable("GET", request.path, presigned(expires_s=60).query + b"&X-Amz-Date=20260101T000000Z", both.headers)
    without = [(name, value) for name, value in dated.headers if name != b"authorization"]
    assert refusal(Signable("GET", dated.path, dated.query, without)) == "IncompleteSignatureException"


def test_payload_hash_must_be_the_bodys() -> None:
    """What came is hashed, whatever `X-Amz-Content-Sha256` says, and UNSIGNED-PAYLOAD is refused as Lambda does."""
    right = hashlib.sha256(b"{}").hexdigest()
    accepted(signed("POST", f"{SERVER}/", body=b"{}", x_amz_content_sha256=right), b"{}")
    wrong = signed("POST", f"{SERVER}/", body=b"{}", x_amz_content_sha256=EMPTY_SHA256)
    assert refusal(wrong, b"{}") == "InvalidSignatureException"
    unsigned = signed("POST", f"{SERVER}/", body=b"{}", x_amz_content_sha256="UNSIGNED-PAYLOAD")
    assert refusal(unsigned, b"{}") == "InvalidSignatureException"


def test_nothing_of_the_signature_may_change() -> None:
    """Each part of what was claimed is bound by it: key, date, region, service, list of headers, time."""
    request = signed("GET", f"{SERVER}/2015-03-31/functions")
    (authorization,) = (value.decode() for name, value in request.headers if name == b"authorization")
    today = authorization.split("/")[1]
    for old, new in (
        ("eu-west-1", "us-east-1"),
        ("/lambda/", "/iam/"),
        (today, "20150830"),
        ("Signature=", "Signature=0"),
    ):
        headers = [(n, authorization.replace(old, new).encode()[:-1] if new == "Signature=0" else
                    authorization.replace(old, new).encode()) if n == b"authorization" else (n, v)
                   for n, v in request.headers]  # fmt: skip
        assert refusal(Signable("GET", request.path, b"", headers)) == "InvalidSignatureException"


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda/aws4_request, SignedHeaders=host, Signature=x",
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda/aws4_request, SignedHeaders=x;host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda/aws4, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda/aws4_request, SignedHeaders=host, Signature="
        + "0" * 64
        + ", SignedHeaders=host",
        "AWS4-ECDSA-P256-SHA256 Credential=a/20260101/r/lambda/aws4_request, SignedHeaders=host, Signature=0",
        "Bearer ltn_x",
    ],
)
def test_malformed_signatures_are_incomplete(authorization: str) -> None:
    headers = [(b"host", b"h"), (b"x-amz-date", b"20260101T000000Z"), (b"authorization", authorization.encode())]
    assert refusal(Signable("GET", b"/", b"", headers)) == "IncompleteSignatureException"


@pytest.mark.parametrize("date", [b"20260101T000000", b"20261301T000000Z", b"yesterday", b"20260101T000000.5Z"])
def test_dates_are_read_strictly(date: bytes) -> None:
    text = b"AWS4-HMAC-SHA256 Credential=a/20260101/r/lambda/aws4_request, SignedHeaders=host, Signature=" + b"0" * 64
    headers = [(b"host", b"h"), (b"x-amz-date", date), (b"authorization", text)]
    with pytest.raises(SignatureRefused):
        parse(Signable("GET", b"/", b"", headers))


def test_without_a_signature() -> None:
    """Missing is not the same as wrong."""
    request = Signable("GET", b"/2015-03-31/functions", b"", [(b"host", b"h")])
    assert not is_signed(request)
    assert refusal(request) == "MissingAuthenticationTokenException"
    assert is_signed(signed("GET", f"{SERVER}/"))
    assert is_signed(signed("GET", f"{SERVER}/", query=True))


def test_five_minutes_either_way() -> None:
    """And the text says by how much, as AWS's does."""
    signature = parse(signed("GET", f"{SERVER}/"))
    for offset in (-299, 0, 299):
        check_time(signature, now_s=signature.time_s + offset)
    with pytest.raises(SignatureRefused) as late:
        check_time(signature, now_s=signature.time_s + 301)
    now = at(signature.time_s + 301)
    assert late.value.message == (
        f"Signature expired: {signature.time} is now earlier than {at(signature.time_s + 1)} ({now} - 5 min.)"
    )
    with pytest.raises(SignatureRefused) as early:
        check_time(signature, now_s=signature.time_s - 301)
    assert early.value.code == "InvalidSignatureException"
    assert early.value.message.startswith("Signature not yet current: ")


def test_presigned_until_it_expires() -> None:
    """As long as it says, and no longer."""
    signature = accepted(presigned(expires_s=1000))
    check_time(signature, now_s=signature.time_s + 999)
    with pytest.raises(SignatureRefused, match="Signature expired"):
        check_time(signature, now_s=signature.time_s + 1001)


def test_presigned_is_good_for_a_week_at_most() -> None:
    """Whatever it says, also where it was made for a time to come."""
    week_s = 7 * 24 * 3600
    signature = accepted(presigned(expires_s=week_s))
    with pytest.raises(SignatureRefused, match="not yet current"):
        check_time(signature, now_s=signature.time_s - 301)
    assert refusal(presigned(expires_s=week_s + 1)) == "IncompleteSignatureException"


def test_a_presigned_url_of_another_algorithm() -> None:
    request = presigned(expires_s=60)
    query = request.query.replace(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256")
    assert refusal(Signable("GET", request.path, query, request.headers)) == "IncompleteSignatureException"


def test_a_token_is_seen() -> None:
    """In either form; whether it is good is not told by the signature."""
    for auth in (SigV4Auth, SigV4QueryAuth):
        request = AWSRequest("GET", f"{SERVER}/")
        auth(Credentials(KEY, SECRET, "token/+="), "lambda", "eu-west-1").add_auth(request)
        assert accepted(as_sent(request.prepare())).security_token == "token/+="


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
