"""The account: what a workspace may use, and what it uses."""

from lateen.aws.calls import Answer, Call, operation
from lateen.domain.functions import ACCOUNT_CONCURRENCY
from lateen.domain.workspaces import code_limit
from lateen.services.functions import Functions
from lateen.services.workspaces import Workspaces
from lateen.services.zips import MAX_UNZIPPED, MAX_ZIPPED


class AccountOperations:
    def __init__(self, functions: Functions, workspaces: Workspaces) -> None:
        self._functions = functions
        self._workspaces = workspaces

    @operation(
        "GetAccountSettings",
        missing="the limits are AWS's defaults, but for the workspace's own on code; of concurrency those on what is "
        "reserved and provisioned are enforced",
    )
    async def get_account_settings(self, call: Call) -> Answer:
        workspace = await self._workspaces.get(call.caller, call.workspace_id)
        count, reserved, cursor = 0, 0, None
        while True:
            page = await self._functions.list(call.caller, call.workspace_id, limit=100, cursor=cursor)
            count += len(page.items)
            reserved += sum(each.function.reserved_concurrency or 0 for each in page.items)
            if (cursor := page.cursor) is None:
                break
        limits = {
            "TotalCodeSize": code_limit(workspace.quota),
            "CodeSizeUnzipped": MAX_UNZIPPED,
            "CodeSizeZipped": MAX_ZIPPED,
            "ConcurrentExecutions": ACCOUNT_CONCURRENCY,
            "UnreservedConcurrentExecutions": ACCOUNT_CONCURRENCY - reserved,
        }
        stored = await self._functions.storage.read(workspace.id)
        usage = {"TotalCodeSize": stored.size, "FunctionCount": count}
        return Answer(body={"AccountLimit": limits, "AccountUsage": usage})
