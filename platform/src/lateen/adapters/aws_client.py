"""A client of one AWS service, made by its first call, with threads of its own.

botocore blocks, so each call borrows one of a bounded number of threads, and the client has as many connections.
Making a client reads many files and may ask for credentials over the network: it happens in such a thread too.
Credentials and endpoints come from botocore's standard chain and variables.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from botocore.session import Session, get_session

T = TypeVar("T")

MakeSession = Callable[[], Session]


class ClientFault(Exception):
    """A client cannot be made of these settings."""


class ClientClosed(ClientFault):
    """A call after `close`."""


class AwsClient:
    def __init__(
        self,
        service: str,
        *,
        region: str,
        threads: int,
        config: Config,
        endpoint_url: str | None = None,
        session: MakeSession = get_session,
        wrap: Callable[[Any, Session], Any] = lambda client, _: client,
    ) -> None:
        """Nothing is read or connected yet.

        Args:
            config: timeouts and retries; the number of connections is that of the threads.
            endpoint_url: None: botocore's variables decide, or AWS's own address for the region.
            session: makes the session that the client comes from; again each time that credentials were refused.
            wrap: makes of botocore's client what the calls get.
        """
        self._service = service
        self._region = region
        self._config = Config(max_pool_connections=threads).merge(config)
        self._endpoint_url = endpoint_url
        self._session = session
        self._wrap = wrap
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"lateen-{service}")
        self._making = Lock()
        self._client: Any = None
        self._is_closed = False

    async def run(self, action: Callable[[Any], T], *, within_s: float) -> T:
        """Run `action` with the client in a thread. Raises: botocore's errors, `TimeoutError`, `ClientFault`.

        When the time is over, or the caller leaves, what still waits for a thread is given up, and what runs in one
        goes on: its own timeouts end it.
        """
        if self._is_closed:
            raise ClientClosed
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, action)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and task is not None and not task.cancelling():
                raise ClientClosed from None  # it was `close` that gave up, and not the caller
            raise

    def forget(self) -> None:
        """The next call makes a new client, so that credentials which were replaced meanwhile are read again."""
        self._client = None

    async def close(self) -> None:
        """Give up what waits, finish what runs."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _run(self, action: Callable[[Any], T]) -> T:
        return action(self._client or self._make())

    def _make(self) -> Any:
        with self._making:
            if self._client is None:
                session = self._session()
                # Also for the clients that botocore makes on its own to get credentials: their timeouts are a minute.
                session.set_default_client_config(self._config)
                if session.get_credentials() is None:
                    raise NoCredentialsError
                try:
                    client = session.create_client(
                        self._service, region_name=self._region, endpoint_url=self._endpoint_url, config=self._config
                    )
                except ValueError as exc:  # botocore's word for an endpoint that is no URL
                    raise ClientFault from exc
                self._client = self._wrap(client, session)
            return self._client
