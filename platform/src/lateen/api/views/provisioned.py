"""Provisioned concurrency, as callers see it."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Id, Timestamp
from lateen.domain.functions import Function
from lateen.domain.provisioned import ProvisionedState
from lateen.services.provisioned import DescribedConfig


class ProvisionedConcurrencyView(Struct, frozen=True, kw_only=True):
    function: Id
    qualifier: Annotated[str, Meta(examples=["live"])]
    """A version's number, or an alias."""
    requested: int
    """Environments that are to be kept started."""
    allocated: int
    """Of those, so many are."""
    state: ProvisionedState
    state_reason: str | None
    """For a person: why it failed."""
    updated_at: Timestamp


def provisioned_view(function: Function, described: DescribedConfig) -> ProvisionedConcurrencyView:
    config, status = described.config, described.status
    return ProvisionedConcurrencyView(
        function=function.id,
        qualifier=config.qualifier,
        requested=config.requested,
        allocated=status.allocated,
        state=status.state,
        state_reason=status.reason,
        updated_at=config.updated_at,
    )
