"""Layers, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Timestamp
from lateen.domain.layers import LayerVersion


class LayerView(Struct, frozen=True, kw_only=True):
    """A version of a layer."""

    name: str
    version: int
    """From 1, and never used again."""
    arn: Annotated[str, Meta(examples=["arn:aws:lambda:us-east-1:123456789012:layer:shared:1"])]
    """What a function names it by."""
    description: str
    runtimes: list[str]
    architectures: list[str]
    license: str
    size: int
    """Of the zip, bytes."""
    unzipped_size: int
    """Of all its files, bytes."""
    sha256: str
    """Of the zip, hex."""
    created_at: Timestamp


def layer_view(layer: LayerVersion) -> LayerView:
    return LayerView(
        name=layer.name,
        version=layer.version,
        arn=layer.arn,
        description=layer.description,
        runtimes=list(layer.runtimes),
        architectures=list(layer.architectures),
        license=layer.license,
        size=layer.size,
        unzipped_size=layer.unzipped,
        sha256=layer.sha256,
        created_at=layer.created_at,
    )
