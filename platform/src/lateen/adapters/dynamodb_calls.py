"""Calls of DynamoDB's API, repeated where that may help: a few times, with jitter, never past a deadline.

Retries come out of a budget that all calls share, so a store that is down or throttles meets at most half as many
requests again, however many callers there are. Only waiting for another transaction on the same items is free of it.
"""

import asyncio
import random
from operator import methodcaller
from secrets import token_hex
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from lateen.adapters.aws_client import AwsClient, MakeSession
from lateen.adapters.dynamodb_faults import EXPECTED, Fault, fault_of, words_for
from lateen.adapters.dynamodb_wire import DynamoWire
from lateen.ports.table import TableUnavailable

RETRIES = 3
"""Of a call that was throttled or not answered."""
CALL_S = 6.0
"""For a call, its repetitions included."""
LEAST_S = 0.5
"""With less time left it is not repeated: nobody would hear what became of it, and it may be done."""
FIRST_WAIT_S = 0.05
LAST_WAIT_S = 1.0
CONFIG = Config(
    connect_timeout=1.0,
    read_timeout=2.5,
)
_READS = {"GetItem", "Query"}
_PASSING = {Fault.THROTTLED, Fault.NOT_SENT, Fault.UNKNOWN}


class ConditionFailed(Exception):
    """DynamoDB's refusal. `is_open`: an attempt before it was not answered, and may have been stored."""

    def __init__(self, cause: ClientError, *, is_open: bool) -> None:
        super().__init__()
        self.cause = cause
        self.is_open = is_open


class DynamoCalls:
    def __init__(
        self, *, region: str, endpoint_url: str | None, threads: int, call_s: float, session: MakeSession
    ) -> None:
        self._client = AwsClient(
            "dynamodb",
            region=region,
            endpoint_url=endpoint_url,
            threads=threads,
            config=CONFIG,
            session=session,
            wrap=DynamoWire,
        )
        self._call_s = call_s
        self.budget = RetryBudget()

    async def send(self, operation: str, request: dict[str, Any], *, has_token: bool = False) -> dict[str, Any]:
        """The answer. Raises: `ConditionFailed`, `TableUnavailable`; `ValueError` for what no table stores.

        Args:
            has_token: the request may bear a token by which DynamoDB knows it again.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._call_s
        self.budget.called()
        attempt = retries = 0
        is_open = has_new_credentials = False
        while True:
            if has_token and not is_open:
                # What was surely not done needs no memory of it; what may have been done has to be known again.
                request["ClientRequestToken"] = token_hex(16)
            try:
                return await self._client.run(methodcaller("call", operation, request), within_s=deadline - loop.time())
            except EXPECTED as exc:
                fault = fault_of(exc)
                if fault is Fault.CONDITION and isinstance(exc, ClientError):
                    raise ConditionFailed(exc, is_open=is_open) from exc
                if fault is Fault.INVALID and operation not in _READS:
                    raise ValueError("the table does not take such an item") from exc
                unavailable = TableUnavailable(words_for(exc))
                unavailable.__cause__ = exc
            is_open = is_open or fault is Fault.UNKNOWN
            if fault is Fault.CREDENTIALS:
                self._client.forget()
                if has_new_credentials:
                    raise unavailable
                has_new_credentials = True
                continue
            if fault in _PASSING and retries < RETRIES and self.budget.take():
                retries += 1
            elif fault is not Fault.CONTENDED:
                raise unavailable
            wait = wait_s(attempt)
            if loop.time() + wait + LEAST_S >= deadline:
                raise unavailable
            attempt += 1
            await asyncio.sleep(wait)

    async def close(self) -> None:
        await self._client.close()


class RetryBudget:
    """Half a retry for each call, and a few that were saved."""

    def __init__(self, *, per_call: float = 0.5, at_most: float = 20.0) -> None:
        self._per_call = per_call
        self._at_most = at_most
        self._left = at_most

    def called(self) -> None:
        self._left = min(self._at_most, self._left + self._per_call)

    def take(self) -> bool:
        """Whether one more may be sent."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def wait_s(attempt: int) -> float:
    """Before attempt number `attempt` is repeated, counted from 0: anything up to a bound that doubles."""
    return random.uniform(0, min(LAST_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311 - jitter
