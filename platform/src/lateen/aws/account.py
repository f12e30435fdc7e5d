"""The account: what a workspace may use, and what it uses."""

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import uploaded_size
from lateen.domain.functions import ACCOUNT_CONCURRENCY
from lateen.services.functions import Functions
from lateen.services.zips import MAX_UNZIPPED, MAX_ZIPPED

TOTAL_CODE_SIZE = 80_530_636_800


class AccountOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    @operation(
        "GetAccountSettings",
        missing="the limits are AWS's defaults; only those on reserved and provisioned concurrency are enforced",
    )
    async def get_account_settings(self, call: Call) -> Answer:
        count, size, reserved, cursor = 0, 0, 0, None
        while True:
            page = await self._functions.list(call.caller, call.workspace_id, limit=100, cursor=cursor)
            count += len(page.items)
            size += sum(uploaded_size(each.function.code) for each in page.items)
            reserved += sum(each.function.reserved_concurrency or 0 for each in page.items)
            if (cursor := page.cursor) is None:
                break
        limits = {
            "TotalCodeSize": TOTAL_CODE_SIZE,
            "CodeSizeUnzipped": MAX_UNZIPPED,
            "CodeSizeZipped": MAX_ZIPPED,
            "ConcurrentExecutions": ACCOUNT_CONCURRENCY,
            "UnreservedConcurrentExecutions": ACCOUNT_CONCURRENCY - reserved,
        }
        return Answer(body={"AccountLimit": limits, "AccountUsage": {"TotalCodeSize": size, "FunctionCount": count}})
