"""Signatures on what reaches an invoker from the platform: one HMAC under a key that belongs to one function.

A signed request may reach a function whose URL is not open, and is believed about whom it comes from:
`X-Lateen-Source` names the caller's address, protocol and port as the platform saw them.
"""

import hmac

SIGNATURE = "x-lateen-signature"
SOURCE = "x-lateen-source"
REQUEST_ID = "x-lateen-request-id"
REFUSED = "x-lateen-refused"
"""On an answer: the call was not executed, so the platform may give it to another pod."""
WINDOW_S = 60


def sign(key: bytes, *, method: str, target: str, source: str, request_id: str, now_s: float) -> str:
    """Value of `X-Lateen-Signature`: `{unix seconds}.{hex}`.

    Args:
        target: path and query exactly as on the request line.
        source: `{ip} {http|https} {port}`, then the alias that was addressed, and what is said of the call besides
            (`urls.Said`), where there is either; or empty.
        request_id: the invocation's id chosen by the platform, or empty: the invoker chooses.
    """
    stamp = str(int(now_s))
    return f"{stamp}.{_digest(key, stamp, method, target, source, request_id)}"


def is_signed(
    key: bytes, signature: str, *, method: str, target: str, source: str, request_id: str, now_s: float
) -> bool:
    """Whether the signature is ours and at most `WINDOW_S` old."""
    stamp, _, digest = signature.partition(".")
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12 or abs(now_s - int(stamp)) > WINDOW_S:
        return False
    return hmac.compare_digest(digest.encode(), _digest(key, stamp, method, target, source, request_id).encode())


def _digest(key: bytes, *parts: str) -> str:
    # No part but the target can hold a newline, and no request line can.
    return hmac.digest(key, "\n".join(parts).encode("latin-1", "replace"), "sha256").hex()
