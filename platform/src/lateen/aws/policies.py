"""Resource policies of functions, versions and aliases. A statement that lets everybody call a URL opens it; the others
are kept and shown."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.errors import (
    AwsError,
    conflict,
    function_not_found,
    invalid,
    no_such_resource,
    not_found,
    wrong_revision,
)
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.aws.revisions import alias_revision
from lateen.domain.errors import NotFound
from lateen.domain.function_urls import Statement
from lateen.domain.functions import LATEST
from lateen.domain.versions import is_alias_name, is_number
from lateen.services.aliases import Aliases
from lateen.services.function_extras import Extras, FunctionExtras
from lateen.services.function_urls import UrlSync
from lateen.services.version_policies import VersionPolicies

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
    def __init__(
        self,
        sync: UrlSync,
        *,
        extras: FunctionExtras,
        aliases: Aliases,
        versions: VersionPolicies,
        finding: Finding,
    ) -> None:
        self._sync = sync
        self._extras = extras
        self._aliases = aliases
        self._versions = versions
        self._finding = finding

    @operation("AddPermission", missing="only a statement that opens a URL has an effect")
    async def add_permission(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        if reference.qualifier == LATEST:
            raise invalid("We currently do not support adding policies for $LATEST.")
        statement = _statement(call.parameters, reference)

        def change(old: Policy) -> Policy:
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

        await self._change(call, reference, change)
        return Answer(body={"Statement": msgspec.json.encode(statement).decode()})

    @operation("RemovePermission")
    async def remove_permission(self, call: Call) -> Answer:
        sid = call.parameters["StatementId"]

        def change(old: Policy) -> Policy:
            if not old:
                raise not_found("No policy is associated with the given resource.")
            kept = tuple(each for each in old if each["Sid"] != sid)
            if len(kept) == len(old):
                raise not_found(f"Statement {sid} is not found in resource policy.")
            return kept

        await self._change(call, call.reference(qualifier=True), change, closes=True)
        return Answer(status=204)

    @operation("GetPolicy")
    async def get_policy(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        described = await self._finding.found(call, reference)
        function = described.function
        if is_alias_name(reference.version):
            alias = (await self._aliases.get(call.caller, function.id, reference.version)).alias
            statements, revision = alias.policy, alias_revision(alias)
        elif is_number(reference.version):
            statements = (await self._versions.of(function, reference.version)).statements
            revision = await self._finding.revisions.of(described)
        else:
            statements = (await self._extras.of(function)).policy
            revision = await self._finding.revisions.of(described)
        if not statements:
            raise no_such_resource()
        policy = {"Version": "2012-10-17", "Id": "default", "Statement": statements}
        return Answer(body={"Policy": msgspec.json.encode(policy).decode(), "RevisionId": revision})

    async def _change(
        self, call: Call, reference: Reference, change: Callable[[Policy], Policy], *, closes: bool = False
    ) -> None:
        """`closes`: the change takes a statement away. Raises: `AwsError`."""
        described = await self._finding.found(call, reference)
        function, given = described.function, call.parameters.get("RevisionId")

        def checked(policy: Policy, revision: str) -> Policy:
            """What it is after the change. Of a removal AWS minds the revision last."""
            changed = change(policy) if closes else ()
            if given and given != revision:
                raise wrong_revision()
            return changed if closes else change(policy)

        try:
            if is_alias_name(reference.version):
                await self._aliases.change(
                    call.caller,
                    function.id,
                    reference.version,
                    lambda old: replace(old, policy=checked(old.policy, alias_revision(old))),
                )
                return
            revision_at = await self._finding.revisions.at(described)
            if is_number(reference.version):
                await self._versions.change(
                    function, reference.version, lambda old: checked(old.statements, revision_at(old.revision))
                )
                return
        except NotFound:
            raise function_not_found(reference.arn) from None

        def changed(old: Extras) -> Extras:
            return old.with_policy(checked(old.policy, revision_at(old.policy_revision)))

        await self._sync.change(call.caller, function, changed)


def _statement(given: dict[str, Any], reference: Reference) -> Statement:
    principal = given["Principal"]
    if principal != "*":
        kind = "Service" if "." in principal and not principal.startswith("arn:") else "AWS"
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
