"""Resource policies of functions and aliases. A statement that lets everybody call a URL opens it; the others are kept
and shown."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import revision_id, revision_uuid
from lateen.aws.errors import AwsError, conflict, no_such_resource, not_found, not_offered, wrong_revision
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.domain.errors import NotFound
from lateen.domain.function_urls import Statement
from lateen.domain.functions import Function
from lateen.domain.versions import is_alias_name
from lateen.services.aliases import Aliases
from lateen.services.function_extras import FunctionExtras
from lateen.services.function_urls import UrlSync

POLICY_LIMIT = 20 * 1024
_CONDITIONS = (
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
)
Policy = tuple[Statement, ...]


class PolicyOperations:
    def __init__(self, sync: UrlSync, *, extras: FunctionExtras, aliases: Aliases, finding: Finding) -> None:
        self._sync = sync
        self._extras = extras
        self._aliases = aliases
        self._finding = finding

    @operation("AddPermission", missing="only a statement that opens a URL has an effect; not of versions")
    async def add_permission(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        described = await self._finding.draft(call, reference)
        if reference.qualifier is not None and not is_alias_name(reference.qualifier):
            raise not_offered("A policy of a version")
        statement = _statement(call.parameters, reference)

        def change(old: Policy) -> Policy:
            # GetPolicy tells one, GetFunction another; callers have either.
            known = (_revision(described.function, reference, old), revision_id(described))
            if (given := call.parameters.get("RevisionId")) and given not in known:
                raise wrong_revision()
            sid = statement["Sid"]
            if any(each["Sid"] == sid for each in old):
                raise conflict(
                    f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove "
                    "the existing statement."
                )
            if len(msgspec.json.encode((*old, statement))) > POLICY_LIMIT:
                text = f"The final policy size is bigger than the limit ({POLICY_LIMIT})."
                raise AwsError("PolicyLengthExceededException", text)
            return (*old, statement)

        await self._change(call, described.function, reference, change)
        return Answer(body={"Statement": msgspec.json.encode(statement).decode()})

    @operation("RemovePermission", missing="not of versions")
    async def remove_permission(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = (await self._finding.found(call, reference)).function
        sid = call.parameters["StatementId"]

        def change(old: Policy) -> Policy:
            if not old:
                raise not_found("No policy is associated with the given resource.")
            kept = tuple(each for each in old if each["Sid"] != sid)
            if len(kept) == len(old):
                raise not_found(f"Statement {sid} is not found in resource policy.")
            return kept

        if reference.qualifier is not None and not is_alias_name(reference.qualifier):
            change(())
        await self._change(call, function, reference, change, closes=True)
        return Answer(status=204)

    @operation("GetPolicy", missing="not of versions")
    async def get_policy(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        function = (await self._finding.found(call, reference)).function
        statements = await self._policy(call, function, reference)
        if not statements:
            raise no_such_resource()
        policy = {"Version": "2012-10-17", "Id": "default", "Statement": statements}
        revision = _revision(function, reference, statements)
        return Answer(body={"Policy": msgspec.json.encode(policy).decode(), "RevisionId": revision})

    async def _policy(self, call: Call, function: Function, reference: Reference) -> Policy:
        if (name := reference.qualifier) is None:
            return (await self._extras.of(function)).policy
        if not is_alias_name(name):
            return ()
        return (await self._aliases.get(call.caller, function.id, name)).alias.policy

    async def _change(
        self,
        call: Call,
        function: Function,
        reference: Reference,
        change: Callable[[Policy], Policy],
        *,
        closes: bool = False,
    ) -> None:
        """`closes`: the change opens nothing, and may close what was open."""
        if (name := reference.qualifier) is not None:
            try:
                await self._aliases.change(
                    call.caller, function.id, name, lambda old: msgspec.structs.replace(old, policy=change(old.policy))
                )
            except NotFound:
                raise not_found(f"Function not found: {reference.arn}") from None
            return
        if closes:  # before it is forgotten why it was open
            before = await self._extras.of(function)
            await self._sync.follow_once(call.caller, function, msgspec.structs.replace(before, policy=change(before.policy)))
        extras = await self._extras.change(
            function, lambda old: msgspec.structs.replace(old, policy=change(old.policy))
        )
        await self._sync.follow(call.caller, function, extras)


def _statement(given: dict[str, Any], reference: Reference) -> Statement:
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
        "Resource": reference.arn,
    }
    condition: dict[str, dict[str, Any]] = {}
    for name, operator, key in _CONDITIONS:
        if given.get(name):
            condition.setdefault(operator, {})[key] = given[name]
    if given.get("InvokedViaFunctionUrl"):
        condition.setdefault("Bool", {})["lambda:InvokedViaFunctionUrl"] = "true"
    return statement | ({"Condition": condition} if condition else {})


def _revision(function: Function, reference: Reference, policy: Sequence[Statement]) -> str:
    return revision_uuid(function.id, reference.qualifier or "", "policy", msgspec.json.encode(policy).decode())
