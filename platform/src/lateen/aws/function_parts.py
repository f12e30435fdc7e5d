"""What hangs on a function: tags, reserved concurrency, and what Terraform asks for on the way."""

from collections.abc import Callable

import msgspec

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.errors import function_not_found, functions_only, invalid
from lateen.aws.finding import Finding
from lateen.aws.function_requests import TAGS, check_tags
from lateen.aws.references import Reference, reference_from
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.functions import LATEST, UNRESERVED, Function
from lateen.services.function_extras import Extras, FunctionExtras
from lateen.services.functions import FunctionChange, Functions
from lateen.services.reserved import BelowProvisioned


class FunctionPartOperations:
    def __init__(self, finding: Finding, *, functions: Functions, extras: FunctionExtras) -> None:
        self._finding = finding
        self._functions = functions
        self._extras = extras

    @operation("ListTags", missing="functions only")
    async def list_tags(self, call: Call) -> Answer:
        function, _ = await self._tagged(call)
        return Answer(body={"Tags": (await self._extras.of(function)).tags})

    @operation("TagResource", missing="functions only")
    async def tag_resource(self, call: Call) -> Answer:
        function, reference = await self._tagged(call)
        added = call.parameters["Tags"]

        def change(old: Extras) -> Extras:
            tags = old.tags | added
            if len(tags) > TAGS:
                raise invalid("Number of tags exceeds resource tag limit.")
            return msgspec.structs.replace(old, tags=tags)

        if not added:
            raise invalid("An error occurred and the request cannot be processed.")
        check_tags(added)
        await self._change(function, reference, change)
        return Answer(status=204)

    @operation("UntagResource", missing="functions only")
    async def untag_resource(self, call: Call) -> Answer:
        function, reference = await self._tagged(call)
        removed = call.parameters["TagKeys"]

        def change(old: Extras) -> Extras:
            return msgspec.structs.replace(old, tags={k: v for k, v in old.tags.items() if k not in removed})

        await self._change(function, reference, change)
        return Answer(status=204)

    @operation("GetFunctionConcurrency")
    async def get_function_concurrency(self, call: Call) -> Answer:
        described = await self._finding.draft(call, call.reference())
        reserved = described.function.reserved_concurrency
        return Answer(body={} if reserved is None else {"ReservedConcurrentExecutions": reserved})

    @operation("PutFunctionConcurrency")
    async def put_function_concurrency(self, call: Call) -> Answer:
        reserved = call.parameters["ReservedConcurrentExecutions"]
        await self._reserve(call, reserved)
        return Answer(body={"ReservedConcurrentExecutions": reserved})

    @operation("DeleteFunctionConcurrency")
    async def delete_function_concurrency(self, call: Call) -> Answer:
        await self._reserve(call, None)
        return Answer(status=204)

    @operation("GetFunctionCodeSigningConfig", missing="there is none: the answer is empty, as for a function without")
    async def get_function_code_signing_config(self, call: Call) -> Answer:
        await self._finding.draft(call, call.reference())
        return Answer(body={})

    @operation("GetFunctionRecursionConfig", missing="always Terminate, which is AWS's default; not enforced")
    async def get_function_recursion_config(self, call: Call) -> Answer:
        await self._finding.draft(call, call.reference())
        return Answer(body={"RecursiveLoop": "Terminate"})

    @operation("GetRuntimeManagementConfig", missing="always Auto, which is AWS's default")
    async def get_runtime_management_config(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        await self._finding.found(call, reference)
        return Answer(body={"UpdateRuntimeOn": "Auto", "FunctionArn": reference.arn})

    async def _reserve(self, call: Call, reserved: int | None) -> None:
        reference = call.reference()
        if reference.qualifier is not None:
            raise functions_only()
        missing = reference.place.arn(reference.name, LATEST) if reserved is not None else None
        described = await self._finding.draft(call, reference, missing=missing)
        try:
            await self._functions.update(
                call.caller, described.function.id, FunctionChange(reserved_concurrency=reserved)
            )
        except NotFound:
            raise function_not_found(missing or reference.arn) from None
        except BelowProvisioned as exc:
            raise invalid(exc.reason) from None
        except InvalidInput:
            raise invalid(
                "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
                f"below its minimum value of [{UNRESERVED}]."
            ) from None

    async def _tagged(self, call: Call) -> tuple[Function, Reference]:
        reference = reference_from(call.parameters["Resource"], call.place, operation=call.operation)
        if reference.qualifier is not None:
            raise invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
        return (await self._finding.draft(call, reference)).function, reference

    async def _change(self, function: Function, reference: Reference, change: Callable[[Extras], Extras]) -> None:
        try:
            await self._extras.change(function, change)
        except NotFound:
            raise function_not_found(reference.arn) from None
