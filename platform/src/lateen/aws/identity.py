"""The little of STS and IAM that Terraform and the AWS CLI ask for on the way to Lambda.

Both speak the query protocol: a form, answered in XML. A role is a text here: whichever is asked for exists, for
nothing hangs on it.
"""

import re
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from lateen.aws.errors import AwsError
from lateen.aws.references import Place
from lateen.domain.access import Caller

STS, IAM = "https://sts.amazonaws.com/doc/2011-06-15/", "https://iam.amazonaws.com/doc/2010-05-08/"
_ROLE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_TRUST = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D"
_CREATED = "2020-01-01T00:00:00Z"


def answer(service: str, body: bytes, query: str, *, caller: Caller, place: Place, request_id: str) -> bytes:
    """The XML. Args: service: `sts` or `iam`. Raises: `AwsError`, for `error_document`."""
    given = {name: values[-1] for name, values in parse_qs(body.decode("latin-1") or query).items()}
    action = given.get("Action", "")
    if service == "sts" and action == "GetCallerIdentity":
        inner = _elements(
            Arn=f"arn:aws:iam::{place.account_id}:user/{caller.key_id}",
            UserId=caller.key_id.upper(),
            Account=place.account_id,
        )
        return _document(STS, action, inner, request_id)
    if service == "iam" and action == "GetRole":
        return _document(IAM, action, _role(given.get("RoleName", ""), place), request_id)
    if service == "iam" and action in ("ListRolePolicies", "ListAttachedRolePolicies"):
        _checked_role(given.get("RoleName", ""))
        members = "PolicyNames" if action == "ListRolePolicies" else "AttachedPolicies"
        return _document(IAM, action, f"<{members}/><IsTruncated>false</IsTruncated>", request_id)
    if service == "iam" and action == "ListAccountAliases":
        return _document(IAM, action, "<AccountAliases/><IsTruncated>false</IsTruncated>", request_id)
    raise AwsError(
        "InvalidAction", f"Could not find operation {action[:128]} for version {given.get('Version', '')[:32]}"
    )


def error_document(service: str, exc: AwsError, request_id: str) -> bytes:
    kind = "Sender" if exc.status < 500 else "Receiver"
    inner = _elements(Type=kind, Code=exc.code, Message=exc.message or "")
    namespace = STS if service == "sts" else IAM
    return (
        f'<ErrorResponse xmlns="{namespace}"><Error>{inner}</Error>{_elements(RequestId=request_id)}</ErrorResponse>'
    ).encode()


def _role(name: str, place: Place) -> str:
    _checked_role(name)
    inner = _elements(
        Path="/",
        RoleName=name,
        RoleId=f"AROA{name.upper()[:16]:X<16}",
        Arn=f"arn:aws:iam::{place.account_id}:role/{name}",
        CreateDate=_CREATED,
        AssumeRolePolicyDocument=_TRUST,
        MaxSessionDuration="3600",
    )
    return f"<Role>{inner}</Role>"


def _checked_role(name: str) -> None:
    if not _ROLE.fullmatch(name):
        raise AwsError("ValidationError", "The specified value for roleName is invalid.")


def _document(namespace: str, action: str, inner: str, request_id: str) -> bytes:
    return (
        f'<{action}Response xmlns="{namespace}"><{action}Result>{inner}</{action}Result>'
        f"<ResponseMetadata>{_elements(RequestId=request_id)}</ResponseMetadata></{action}Response>"
    ).encode()


def _elements(**texts: str) -> str:
    return "".join(f"<{name}>{escape(text)}</{name}>" for name, text in texts.items())
