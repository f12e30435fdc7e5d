"""Function URLs: how they answer and who may call them; a function's own, and one of each alias.

What is configured lies beside the function, or is a part of the alias. What of a function's own URL matters to calls is
part of its desired state, and follows from that (`UrlSync`).
"""

import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from lateen.domain.access import Caller
from lateen.domain.errors import NotFound, RevisionMismatch
from lateen.domain.function_urls import (
    FunctionUrl,
    Statement,
    UrlConfig,
    check_cors,
    is_open,
    opened,
    without_opening,
)
from lateen.domain.functions import Auth, Function
from lateen.domain.times import iso_ms
from lateen.domain.versions import Alias
from lateen.services.aliases import Aliases
from lateen.services.function_extras import Extras, FunctionExtras
from lateen.services.functions import FunctionChange, Functions

NO_URL = "its URL has no settings"


class DescribedUrl(Struct, frozen=True, kw_only=True):
    function_id: str
    alias: str | None
    """None: the function's own."""
    hash: str
    config: UrlConfig
    is_open: bool
    """Everybody may call it."""


class UrlSync:
    """Makes a function's desired state what its URL configuration and its policy say."""

    def __init__(self, functions: Functions, extras: FunctionExtras) -> None:
        self._functions = functions
        self._extras = extras

    async def change(self, caller: Caller, function: Function, change: Callable[[Extras], Extras]) -> Extras:
        """Store what `change` makes of URL and policy, and have the function follow. Cut short at any point, nothing is
        open that was said to be closed; and a caller who is told that it is there already has it in effect.

        Raises: `NotFound`, what `change` raises.
        """
        before: UrlConfig | None = None

        def noted(old: Extras) -> Extras:
            nonlocal before
            before = old.url
            return change(old)

        stored = await self._extras.of(function)
        try:
            planned = change(stored)
        except Exception:
            await self._follow(caller, function, stored)
            raise
        if _closes(stored, planned):
            await self._set(caller, function, *_wanted(planned))
        extras = await self._extras.change(function, noted)
        await self._follow(caller, function, extras, opens=_says_none(before, extras.url))
        return extras

    async def _follow(self, caller: Caller, function: Function, extras: Extras, *, opens: bool = False) -> None:
        """A function without a URL configuration is as its `auth` says.

        Of several who change URL and policy at the same time, the last one to come here sees what all of them have
        changed; so nobody leaves open what another one has closed.

        Args:
            opens: somebody has just said NONE; else what asks for a key goes on asking for it.
        """
        if extras.url is None:
            return
        while True:
            wanted = _wanted(extras)
            await self._set(caller, function, *wanted, opens=opens)
            extras = await self._extras.of(function)
            if _wanted(extras) == wanted:
                return

    async def close(self, caller: Caller, function: Function) -> None:
        await self._set(caller, function, "iam", None)

    async def _set(
        self, caller: Caller, function: Function, auth: Auth, url: FunctionUrl | None, *, opens: bool = False
    ) -> None:
        if auth != "none" or opens:
            await self._functions.update(caller, function.id, FunctionChange(auth=auth, url=url))
            return
        while True:
            live = (await self._functions.get(caller, function.id)).function
            change = FunctionChange(auth="key" if live.auth == "key" else auth, url=url)
            try:
                await self._functions.update(caller, function.id, change, expected=live.revision)
            except RevisionMismatch:
                continue  # somebody else's change was stored, which may have been to `key`
            return


class FunctionUrls:
    def __init__(
        self,
        functions: Functions,
        *,
        extras: FunctionExtras,
        aliases: Aliases,
        region: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`region`: part of ARNs."""
        self.sync = UrlSync(functions, extras)
        self._functions = functions
        self._extras = extras
        self._aliases = aliases
        self._region = region
        self._now = now

    async def get(self, caller: Caller, function_id: str, alias: str | None) -> DescribedUrl:
        """Raises: `NotFound` (the function, the alias, or nothing is set)."""
        function = (await self._functions.get(caller, function_id)).function
        if alias is None:
            return _own(function, (await self._extras.of(function)).url)
        return _of_alias((await self._aliases.get(caller, function.id, alias)).alias)

    async def put(self, caller: Caller, function_id: str, alias: str | None, url: FunctionUrl) -> DescribedUrl:
        """Replaces what was set. AuthType NONE opens the URL to everybody, unless it was NONE and the function's `auth`
        was made `key` since; by what else its policy says it may be open already.

        Raises: `NotFound`, `InvalidInput`.
        """
        if url.settings.cors is not None:
            check_cors(url.settings.cors)
        function = (await self._functions.get(caller, function_id)).function
        if alias is None:

            def changed(old: Extras) -> Extras:
                config = self._config_after(old.url, url)
                return replace(old, url=config).with_policy(self._policy_after(old.policy, config, function, None))

            extras = await self.sync.change(caller, function, changed)
            return _own((await self._functions.get(caller, function.id)).function, extras.url)

        def moved(old: Alias) -> Alias:
            config = self._config_after(old.url, url)
            return replace(old, url=config, policy=self._policy_after(old.policy, config, function, alias))

        return _of_alias(await self._aliases.change(caller, function.id, alias, moved))

    async def delete(self, caller: Caller, function_id: str, alias: str | None) -> None:
        """Again is no error. Raises: `NotFound` (the function or the alias)."""
        function = (await self._functions.get(caller, function_id)).function
        if alias is not None:
            await self._aliases.change(
                caller,
                function.id,
                alias,
                lambda old: old if old.url is None else replace(old, url=None, policy=without_opening(old.policy)),
            )
        elif (await self._extras.of(function)).url is not None:
            # Closed before it is forgotten why it was open; and after, for somebody may have opened it meanwhile.
            await self.sync.close(caller, function)
            await self._extras.change(
                function, lambda old: replace(old, url=None).with_policy(without_opening(old.policy))
            )
            await self.sync.close(caller, function)

    def _config_after(self, old: UrlConfig | None, url: FunctionUrl) -> UrlConfig:
        if old is not None and old.url == url:
            return old
        now = iso_ms(self._now())
        return UrlConfig(created_at=now if old is None else old.created_at, updated_at=now, url=url)

    def _policy_after(
        self, policy: tuple[Statement, ...], config: UrlConfig, function: Function, alias: str | None
    ) -> tuple[Statement, ...]:
        if config.url.auth_type != "NONE":
            return without_opening(policy)
        if is_open(config, policy):
            return policy
        arn = f"arn:aws:lambda:{self._region}:{function.account_id}:function:{function.name}"
        return opened(policy, arn if alias is None else f"{arn}:{alias}")


def _own(function: Function, config: UrlConfig | None) -> DescribedUrl:
    if config is None:
        raise NotFound(NO_URL)
    return DescribedUrl(
        function_id=function.id, alias=None, hash=function.hash, config=config, is_open=function.auth == "none"
    )


def _of_alias(alias: Alias) -> DescribedUrl:
    if alias.url is None:
        raise NotFound(NO_URL)
    return DescribedUrl(
        function_id=alias.function_id,
        alias=alias.name,
        hash=alias.hash,
        config=alias.url,
        is_open=is_open(alias.url, alias.policy),
    )


def _says_none(before: UrlConfig | None, now: UrlConfig | None) -> bool:
    """Whether this change of the configuration is what makes its AuthType NONE."""
    was_none = before is not None and before.url.auth_type == "NONE"
    return now is not None and now.url.auth_type == "NONE" and not was_none


def _closes(old: Extras, new: Extras) -> bool:
    return _wanted(old)[0] == "none" != _wanted(new)[0]


def _wanted(extras: Extras) -> tuple[Auth, FunctionUrl | None]:
    if extras.url is None:
        return "iam", None
    return "none" if is_open(extras.url, extras.policy) else "iam", extras.url.url
