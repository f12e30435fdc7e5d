"""AWS Signature Version 4, the server's side: who signed a request, when, and whether the signature is right.

Pure: no clock, no store. `parse` reads what a request claims, `check_time` compares that with the clock, `verify` with
the secret. Both forms are read: the `Authorization` header, and the query of a presigned URL.

Any region is accepted in the credential scope: a signature binds it, and there is only one region here. A body's hash
is always part of the signature. `UNSIGNED-PAYLOAD` is for S3; Lambda, STS and IAM refuse it, and so do we.

Source: AWS IAM User Guide, "Create a signed AWS API request". Paths are encoded twice, as for all services but S3.
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

Headers = list[tuple[bytes, bytes]]

ALGORITHM = "AWS4-HMAC-SHA256"
WINDOW_S = 300
MAX_EXPIRES_S = 604_800
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SCOPE_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEX_64 = re.compile(r"[0-9a-f]{64}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}")
_SPACES = re.compile(rb"[ \t]+")


class SignatureRefused(Exception):
    """`code` is AWS's, such as `InvalidSignatureException`; the text may be read by the caller."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Signable(Struct, frozen=True):
    """The parts of a request that a signature is about, as they came over the wire."""

    method: str
    path: bytes
    """Raw, without the query."""
    query: bytes
    headers: Headers
    """Names in lower case."""


class Signature(Struct, frozen=True, kw_only=True):
    """What a request claims."""

    access_key_id: str
    time: str
    """`20260102T030405Z`."""
    time_s: float
    """The same, Unix time."""
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    expires_s: int | None
    """Of a presigned URL; None: the header form."""
    security_token: str | None


def is_signed(request: Signable) -> bool:
    """Whether it has a signature of this kind at all."""
    return b"X-Amz-Signature=" in request.query or any(
        name == b"authorization" and value.startswith(b"AWS4-") for name, value in request.headers
    )


def parse(request: Signable) -> Signature:
    """Raises: `SignatureRefused`."""
    given = _values(request.headers, b"authorization")
    in_query = b"X-Amz-Signature=" in request.query or b"X-Amz-Algorithm=" in request.query
    if given and in_query:
        raise _incomplete("Only one of the Authorization header and the X-Amz-Signature query parameter may be given.")
    if in_query:
        return _from_query(request)
    if not given:
        raise SignatureRefused("MissingAuthenticationTokenException", "Missing Authentication Token")
    if len(given) > 1:
        raise _incomplete("The Authorization header may be given once.")
    return _from_header(request, given[0].decode("latin-1"))


def check_time(signature: Signature, *, now_s: float) -> None:
    """Five minutes either way; a presigned URL until it expires. Raises: `SignatureRefused`."""
    if signature.time_s > now_s + WINDOW_S:
        now, limit = _time_text(now_s), _time_text(now_s + WINDOW_S)
        text = f"Signature not yet current: {signature.time} is still later than {limit} ({now} + 5 min.)"
        raise SignatureRefused("InvalidSignatureException", text)
    if signature.expires_s is not None:
        if now_s > signature.time_s + signature.expires_s:
            now, ended = _time_text(now_s), _time_text(signature.time_s + signature.expires_s)
            raise SignatureRefused("InvalidSignatureException", f"Signature expired: {ended} is now earlier than {now}")
    elif signature.time_s < now_s - WINDOW_S:
        now, limit = _time_text(now_s), _time_text(now_s - WINDOW_S)
        text = f"Signature expired: {signature.time} is now earlier than {limit} ({now} - 5 min.)"
        raise SignatureRefused("InvalidSignatureException", text)


def verify(request: Signable, signature: Signature, *, secret: str, payload_sha256: str) -> None:
    """Args:
        payload_sha256: of the body that came, hex.
    Raises: `SignatureRefused`. Takes the same time for every wrong signature.
    """
    _check_signed_headers(request, signature)
    key = _signing_key(secret, signature.time[:8], signature.region, signature.service)
    for query in _canonical_queries(request.query, presigned=signature.expires_s is not None):
        wanted = _signature_of(key, signature, canonical_request(request, signature, query, payload_sha256))
        if hmac.compare_digest(wanted, signature.signature):
            return
    raise SignatureRefused(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.",
    )


def canonical_request(request: Signable, signature: Signature, query: str, payload_sha256: str) -> bytes:
    """The text that is signed, by its hash."""
    values: dict[bytes, bytes] = {}
    for name, value in request.headers:
        trimmed = _SPACES.sub(b" ", value.strip(b" \t"))
        values[name] = values[name] + b"," + trimmed if name in values else trimmed
    headers = b"".join(b"%b:%b\n" % (name.encode(), values[name.encode()]) for name in signature.signed_headers)
    names = ";".join(signature.signed_headers)
    head = f"{request.method}\n{_canonical_path(request.path)}\n{query}\n".encode()
    return head + headers + f"\n{names}\n{payload_sha256}".encode()


def _from_header(request: Signable, text: str) -> Signature:
    algorithm, _, rest = text.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported signature algorithm; {ALGORITHM} is needed.")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip(" \t").partition("=")
        if not equals or name in parts:
            raise _incomplete("The Authorization header is not a list of Credential, SignedHeaders and Signature.")
        parts[name] = value
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not parts.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    tokens = _values(request.headers, b"x-amz-security-token")
    return _signature(
        credential=parts["Credential"],
        time=_header_time(request.headers),
        signed_headers=parts["SignedHeaders"],
        signature=parts["Signature"],
        expires_s=None,
        token=tokens[0].decode("latin-1") if tokens else None,
    )


def _from_query(request: Signable) -> Signature:
    given: dict[str, str] = {}
    for name, value in _pairs(request.query):
        if (text := name.decode("latin-1")).startswith("X-Amz-"):
            if text in given:
                raise _incomplete(f"{text} may be given once.")
            given[text] = value.decode("latin-1")
    for needed in ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"):
        if not given.get(needed):
            raise _incomplete(f"AWS query-string parameters must include '{needed}'.")
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported signature algorithm; {ALGORITHM} is needed.")
    expires = given.get("X-Amz-Expires", "300")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 8 and int(expires) <= MAX_EXPIRES_S):
        raise _incomplete(f"X-Amz-Expires must be a number of seconds up to {MAX_EXPIRES_S}.")
    return _signature(
        credential=given["X-Amz-Credential"],
        time=given["X-Amz-Date"],
        signed_headers=given["X-Amz-SignedHeaders"],
        signature=given["X-Amz-Signature"],
        expires_s=int(expires),
        token=given.get("X-Amz-Security-Token"),
    )


def _signature(
    *, credential: str, time: str, signed_headers: str, signature: str, expires_s: int | None, token: str | None
) -> Signature:
    scope = credential.split("/")
    if len(scope) != 5 or scope[4] != "aws4_request" or not all(_SCOPE_PART.fullmatch(part) for part in scope):
        raise _incomplete("Credential must have exactly 5 slash-delimited elements and end in 'aws4_request'.")
    access_key_id, date, region, service, _ = scope
    time_s = _seconds(time)
    if date != time[:8]:
        text = f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}'"
        raise SignatureRefused("InvalidSignatureException", text)
    names = tuple(signed_headers.split(";"))
    if list(names) != sorted(set(names)) or not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise _incomplete("SignedHeaders must be header names in lower case, in order, separated by semicolons.")
    if not _HEX_64.fullmatch(signature):
        raise _incomplete("Signature must be 64 hexadecimal digits.")
    return Signature(
        access_key_id=access_key_id,
        time=time,
        time_s=time_s,
        region=region,
        service=service,
        signed_headers=names,
        signature=signature,
        expires_s=expires_s,
        security_token=token,
    )


def _header_time(headers: Headers) -> str:
    """Of `X-Amz-Date`, else of `Date` where that has the same form."""
    for name in (b"x-amz-date", b"date"):
        if found := _values(headers, name):
            return found[0].decode("latin-1").strip()
    raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")


def _seconds(time: str) -> float:
    if _TIME.fullmatch(time):
        try:
            # Reading the same with `strptime` takes longer than all the hashing.
            year, month, day = int(time[:4]), int(time[4:6]), int(time[6:8])
            hour, minute, second = int(time[9:11]), int(time[11:13]), int(time[13:15])
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
        except ValueError:
            pass
    raise _incomplete("Date must be in ISO-8601 'basic format': YYYYMMDD'T'HHMMSS'Z'.")


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def _check_signed_headers(request: Signable, signature: Signature) -> None:
    signed = set(signature.signed_headers)
    present = {name.decode("latin-1") for name, _ in request.headers}
    needed = {"host"} | {name for name in present if name.startswith("x-amz-")}
    for name in sorted(needed - signed):
        text = f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
        raise SignatureRefused("InvalidSignatureException", text)
    for name in sorted(signed - present):
        raise SignatureRefused("InvalidSignatureException", f"Signed header '{name}' is not in the request.")


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The same for a day."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _signature_of(key: bytes, signature: Signature, canonical: bytes) -> str:
    scope = f"{signature.time[:8]}/{signature.region}/{signature.service}/aws4_request"
    hashed = hashlib.sha256(canonical).hexdigest()
    return hmac.digest(key, f"{ALGORITHM}\n{signature.time}\n{scope}\n{hashed}".encode(), "sha256").hex()


def _canonical_path(raw: bytes) -> str:
    """Without dot segments and empty ones, and what is encoded already encoded once more."""
    kept: list[bytes] = []
    for segment in raw.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    path = b"/" + b"/".join(kept)
    if kept and raw.endswith(b"/"):
        path += b"/"
    return quote(path, safe="/~")


def _canonical_queries(raw: bytes, *, presigned: bool) -> list[str]:
    """How a signer may have written the query: encoded as the specification says; or as it was sent, only sorted.
    Both are faithful to what came."""
    if not raw:
        return [""]
    pairs = [pair for pair in _pairs(raw) if not (presigned and pair[0] == b"X-Amz-Signature")]
    encoded = "&".join(f"{name}={value}" for name, value in sorted((_quoted(n), _quoted(v)) for n, v in pairs))
    sent = [part.partition(b"=") for part in raw.split(b"&") if part]
    as_sent = "&".join(
        f"{name.decode('latin-1')}={value.decode('latin-1')}"
        for name, _, value in sorted(sent)
        if not (presigned and name == b"X-Amz-Signature")
    )
    return [encoded] if as_sent == encoded else [encoded, as_sent]


def _pairs(raw: bytes) -> list[tuple[bytes, bytes]]:
    parts = (part.partition(b"=") for part in raw.split(b"&") if part)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in parts]


def _quoted(text: bytes) -> str:
    return quote(text, safe="~")


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for given, value in headers if given == name]


def _incomplete(text: str) -> SignatureRefused:
    return SignatureRefused("IncompleteSignatureException", text)
