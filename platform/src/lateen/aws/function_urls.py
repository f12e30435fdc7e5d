"""Function URLs, and resource policies, without which a URL is nobody's to call.

A URL is the function's own, `/{hash}`. It is open while there is a URL configuration of AuthType NONE and a statement
that lets everybody call it, as on AWS; otherwise the function's `auth` is `iam`, and it leads nowhere.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import Shown, revision_id, revision_uuid
from lateen.aws.errors import AwsError, conflict, no_such_resource, not_found, not_offered, wrong_revision
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.domain.functions import Auth, Function
from lateen.domain.times import iso_ms
from lateen.services.function_extras import Extras, FunctionExtras, UrlConfig
from lateen.services.functions import FunctionChange, Functions

POLICY_LIMIT = 20 * 1024
_URL_ACTIONS = frozenset({"lambda:InvokeFunctionUrl", "lambda:*", "*"})
_CONDITIONS = (
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
)


class FunctionUrlOperations:
    def __init__(
        self,
        functions: Functions,
        *,
        extras: FunctionExtras,
        finding: Finding,
        base_url: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._functions = functions
        self._extras = extras
        self._finding = finding
        self._base_url = base_url
        self._now = now

    @operation("CreateFunctionUrlConfig", missing="AuthType NONE, BUFFERED and no Cors only; not of aliases")
    async def create_function_url_config(self, call: Call) -> Answer:
        reference = _of_function(call)
        try:
            function = await self._function(call, reference)
        except AwsError:
            raise not_found("Function does not exist") from None
        _check_offered(call)

        def change(old: Extras) -> Extras:
            if old.url is not None:
                raise conflict(
                    f"Failed to create function url config for [functionArn = {reference.unqualified_arn}]. Error "
                    "message:  FunctionUrlConfig exists for this Lambda function"
                )
            now = iso_ms(self._now())
            return msgspec.structs.replace(old, url=UrlConfig(created_at=now, updated_at=now))

        shown = await self._changed(call, reference, function, change)
        del shown["LastModifiedTime"]
        return Answer(body=shown)

    @operation("GetFunctionUrlConfig", missing="not of aliases")
    async def get_function_url_config(self, call: Call) -> Answer:
        reference = _of_function(call)
        function = await self._function(call, reference)
        return Answer(body=self._shown(function, reference, await self._url(function)))

    @operation("ListFunctionUrlConfigs")
    async def list_function_url_configs(self, call: Call) -> Answer:
        reference = call.reference()
        function = await self._function(call, reference)
        url = (await self._extras.of(function)).url
        return Answer(body={"FunctionUrlConfigs": [] if url is None else [self._shown(function, reference, url)]})

    @operation("UpdateFunctionUrlConfig", missing="as CreateFunctionUrlConfig")
    async def update_function_url_config(self, call: Call) -> Answer:
        reference = _of_function(call)
        function = await self._function(call, reference)
        await self._url(function)
        _check_offered(call)

        def change(old: Extras) -> Extras:
            if old.url is None:
                raise no_such_resource()
            return msgspec.structs.replace(old, url=msgspec.structs.replace(old.url, updated_at=iso_ms(self._now())))

        return Answer(body=await self._changed(call, reference, function, change))

    @operation("DeleteFunctionUrlConfig", missing="not of aliases")
    async def delete_function_url_config(self, call: Call) -> Answer:
        function = await self._function(call, _of_function(call))
        await self._url(function)
        # Closed before it is forgotten why it was open; and after, for somebody may have opened it meanwhile.
        await self._set_auth(call, function, "iam")
        await self._extras.change(function, lambda old: msgspec.structs.replace(old, url=None))
        await self._set_auth(call, function, "iam")
        return Answer(status=204)

    @operation("AddPermission", missing="only a statement that opens a URL has an effect; not of versions")
    async def add_permission(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        described = await self._finding.draft(call, reference)
        if reference.qualifier is not None:
            raise not_offered("A policy of a version or an alias")
        statement = _statement(call.parameters, reference)

        def change(old: Extras) -> Extras:
            # GetPolicy tells one, GetFunction another; callers have either.
            known = (_policy_revision(described.function, old), revision_id(described))
            if (given := call.parameters.get("RevisionId")) and given not in known:
                raise wrong_revision()
            sid = statement["Sid"]
            if any(each["Sid"] == sid for each in old.policy):
                raise conflict(
                    f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove "
                    "the existing statement."
                )
            policy = (*old.policy, statement)
            if len(msgspec.json.encode(policy)) > POLICY_LIMIT:
                text = f"The final policy size is bigger than the limit ({POLICY_LIMIT})."
                raise AwsError("PolicyLengthExceededException", text)
            return msgspec.structs.replace(old, policy=policy)

        extras = await self._extras.change(described.function, change)
        await self._open_or_close(call, described.function, extras)
        return Answer(body={"Statement": msgspec.json.encode(statement).decode()})

    @operation("RemovePermission", missing="not of versions")
    async def remove_permission(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = (await self._finding.found(call, reference)).function
        sid = call.parameters["StatementId"]

        def change(old: Extras) -> Extras:
            if reference.qualifier is not None or not old.policy:
                raise not_found("No policy is associated with the given resource.")
            kept = tuple(each for each in old.policy if each["Sid"] != sid)
            if len(kept) == len(old.policy):
                raise not_found(f"Statement {sid} is not found in resource policy.")
            return msgspec.structs.replace(old, policy=kept)

        after = change(await self._extras.of(function))
        if not is_open(after):
            await self._open_or_close(call, function, after)
        after = await self._extras.change(function, change)
        if not is_open(after):  # by now: others may have removed other statements
            await self._open_or_close(call, function, after)
        return Answer(status=204)

    @operation("GetPolicy", missing="not of versions")
    async def get_policy(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = (await self._finding.found(call, reference)).function
        extras = await self._extras.of(function)
        if reference.qualifier is not None or not extras.policy:
            raise no_such_resource()
        policy = {"Version": "2012-10-17", "Id": "default", "Statement": extras.policy}
        revision = _policy_revision(function, extras)
        return Answer(body={"Policy": msgspec.json.encode(policy).decode(), "RevisionId": revision})

    async def _function(self, call: Call, reference: Reference) -> Function:
        return (await self._finding.draft(call, reference)).function

    async def _url(self, function: Function) -> UrlConfig:
        if (url := (await self._extras.of(function)).url) is None:
            raise no_such_resource()
        return url

    async def _changed(
        self, call: Call, reference: Reference, function: Function, change: Callable[[Extras], Extras]
    ) -> Shown:
        extras = await self._extras.change(function, change)
        await self._open_or_close(call, function, extras)
        assert extras.url is not None
        return self._shown(function, reference, extras.url)

    async def _open_or_close(self, call: Call, function: Function, extras: Extras) -> None:
        """A function without a URL configuration is as REST says.

        Of several who change URL and policy at the same time, the last one to come here sees what all of them have
        changed; so nobody leaves open what another one has closed.
        """
        if extras.url is None:
            return
        while True:
            opens = is_open(extras)
            await self._set_auth(call, function, "none" if opens else "iam")
            extras = await self._extras.of(function)
            if is_open(extras) == opens:
                return

    async def _set_auth(self, call: Call, function: Function, auth: Auth) -> None:
        await self._functions.update(call.caller, function.id, FunctionChange(auth=auth))

    def _shown(self, function: Function, reference: Reference, url: UrlConfig) -> Shown:
        return {
            "FunctionUrl": f"{self._base_url}/{function.hash}/",
            "FunctionArn": reference.unqualified_arn,
            "AuthType": "NONE",
            "InvokeMode": "BUFFERED",
            "CreationTime": url.created_at,
            "LastModifiedTime": url.updated_at,
        }


def is_open(extras: Extras) -> bool:
    """Whether there is a URL, and a statement that lets everybody call it."""
    return extras.url is not None and any(
        each["Effect"] == "Allow"
        and each["Principal"] == "*"
        and each["Action"] in _URL_ACTIONS
        and each.get("Condition", {}) in ({}, {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}})
        for each in extras.policy
    )


def _of_function(call: Call) -> Reference:
    reference = call.reference(qualifier=True)
    if reference.qualifier is not None:
        raise not_offered("A function URL of an alias")
    return reference


def _check_offered(call: Call) -> None:
    given: dict[str, Any] = call.parameters
    if given.get("AuthType", "NONE") != "NONE":
        raise not_offered("AuthType AWS_IAM of a function URL")
    if given.get("InvokeMode", "BUFFERED") != "BUFFERED":
        raise not_offered("InvokeMode RESPONSE_STREAM of a function URL")
    if any(given.get("Cors", {}).values()):
        raise not_offered("Cors of a function URL")


def _statement(given: dict[str, Any], reference: Reference) -> dict[str, Any]:
    principal = given["Principal"]
    if principal != "*":
        kind = "Service" if "." in principal else "AWS"
        if kind == "AWS" and principal.isdigit():
            principal = f"arn:aws:iam::{principal}:root"
        principal = {kind: principal}
    statement: dict[str, Any] = {
        "Sid": given["StatementId"],
        "Effect": "Allow",
        "Principal": principal,
        "Action": given["Action"],
        "Resource": reference.unqualified_arn,
    }
    condition: dict[str, dict[str, Any]] = {}
    for name, operator, key in _CONDITIONS:
        if given.get(name):
            condition.setdefault(operator, {})[key] = given[name]
    if given.get("InvokedViaFunctionUrl"):
        condition.setdefault("Bool", {})["lambda:InvokedViaFunctionUrl"] = "true"
    return statement | ({"Condition": condition} if condition else {})


def _policy_revision(function: Function, extras: Extras) -> str:
    return revision_uuid(function.id, "policy", msgspec.json.encode(extras.policy).decode())
