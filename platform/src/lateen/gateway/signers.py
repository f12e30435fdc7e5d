"""Who signs a call to a URL of AuthType AWS_IAM: SigV4 for the service `lambda`, by a key pair of the function's
workspace. The signature is about the body too, so that is here whole before anything goes on."""

import hashlib
from typing import Any

from anyio import to_thread

from lateen.domain import sigv4
from lateen.domain.errors import Unauthenticated, Unavailable
from lateen.domain.sigv4 import Signable, SignatureRefused
from lateen.gateway import refusals
from lateen.gateway.bodies import REQUEST_LIMIT, body_length
from lateen.gateway.heads import NO_BODY
from lateen.gateway.pool import CallerLeft
from lateen.gateway.refusals import Receive
from lateen.ports.deployer import Deployment
from lateen.services.keys import Keys
from lateen_invoker.urls import Signer

AT_ONCE = 256 * 1024
"""Bytes of a body that the event loop hashes itself."""
_DENIED = "AccessDeniedException"
_UNKNOWN = "UnrecognizedClientException"


async def signed_call(
    keys: Keys, deployment: Deployment, scope: Any, receive: Receive, *, now_s: float
) -> tuple[Signer, Receive]:
    """The signer, and what gives the request's body once more. Raises: `Refusal`, `CallerLeft`."""
    request = Signable(scope["method"], scope["raw_path"], scope["query_string"], list(scope["headers"]))
    if not sigv4.is_signed(request):
        raise refusals.denied(_DENIED)
    try:
        signature = sigv4.parse(request)
        sigv4.check_time(signature, now_s=now_s)
        if signature.service != "lambda":
            text = "Credential should be scoped to correct service: 'lambda'. "
            raise SignatureRefused("InvalidSignatureException", text)
        if signature.security_token is not None:
            raise SignatureRefused(_UNKNOWN, "The security token included in the request is invalid.")
        signer = await keys.aws_secret(signature.access_key_id)
        body = await _whole(scope, receive)
        sha256 = hashlib.sha256(body) if len(body) <= AT_ONCE else await to_thread.run_sync(hashlib.sha256, body)
        sigv4.verify(request, signature, secret=signer.secret_access_key, payload_sha256=sha256.hexdigest())
    except SignatureRefused as exc:
        raise refusals.denied(exc.code, exc.message) from None
    except Unauthenticated:
        raise refusals.denied(_UNKNOWN, "The security token included in the request is invalid.") from None
    except Unavailable as exc:
        raise refusals.unavailable() from exc
    if not signer.caller.sees(deployment.workspace_id):
        raise refusals.denied(_DENIED)
    key_id = signer.caller.key_id
    told = Signer(
        access_key_id=signature.access_key_id,
        account_id=deployment.account_id,
        user_arn=f"arn:aws:iam::{deployment.account_id}:user/{key_id}",
        user_id=key_id.upper(),
    )
    return told, _again(body, receive)


async def _whole(scope: Any, receive: Receive) -> bytes:
    length = body_length(scope["headers"])
    if length == NO_BODY:
        return b""
    if length is not None and length > REQUEST_LIMIT:
        raise refusals.too_large(REQUEST_LIMIT)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise CallerLeft("the caller left")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > REQUEST_LIMIT:
            raise refusals.too_large(REQUEST_LIMIT)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    left: list[bytes] = [body]

    async def again() -> Any:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return again
