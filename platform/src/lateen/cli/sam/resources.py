"""What stands beside functions in a template: layers, versions, aliases, URLs, permissions."""

import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from lateen.cli.buckets import S3Place
from lateen.cli.refusals import Refused
from lateen.cli.sam.functions import (
    EventConfig,
    Uri,
    event_config,
    path_in,
    provisioned_in,
    uri_or_place,
    url_fields,
)
from lateen.cli.sam.properties import Properties, Skipped
from lateen.cli.sam.templates import Resource, Template

LAYERS = ("AWS::Serverless::LayerVersion", "AWS::Lambda::LayerVersion")
VERSION, ALIAS, URL = "AWS::Lambda::Version", "AWS::Lambda::Alias", "AWS::Lambda::Url"
PERMISSION, EVENT_CONFIG = "AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"

_FUNCTION = re.compile(
    r"^(?:arn:aws:lambda:[a-z0-9-]+:[0-9]{12}:function:|[0-9]{12}:function:)?([A-Za-z0-9_-]{1,64})(?::([A-Za-z0-9_$-]{1,128}))?\Z"
)


class LayerPlan(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    content: Path | S3Place
    fields: dict[str, Any]
    """Of a publication, without name and content."""


class AliasPlan(Struct, frozen=True, kw_only=True):
    function: str
    """Its name."""
    name: str
    fields: dict[str, Any]
    provisioned: int | None
    """Environments that are kept started; None: nothing is said of it."""


class VersionPlan(Struct, frozen=True, kw_only=True):
    function: str
    description: str | None
    provisioned: int | None


class UrlPlan(Struct, frozen=True, kw_only=True):
    """A URL that is a resource of its own."""

    function: str
    qualifier: str | None
    """An alias; None: the function's own."""
    fields: dict[str, Any]


def layer_name(resource: Resource, properties: Properties) -> str:
    return properties.needed_text("LayerName") or resource.id


def plan_layer(template: Template, resource: Resource, properties: Properties) -> LayerPlan:
    """Raises: `Skipped`, `NotYet`, `Refused`."""
    name = layer_name(resource, properties)
    field = "ContentUri" if resource.kind == LAYERS[0] else "Content"
    given = uri_or_place(properties.need(field), f"{properties.where}.{field}")
    if isinstance(given, Uri) and resource.build_method is not None and not template.is_built:
        raise Skipped("layers are not built; 'sam build' makes .aws-sam/build, which can be deployed")
    fields = {
        "description": properties.text("Description") or "",
        "runtimes": properties.texts("CompatibleRuntimes") or [],
        "architectures": properties.texts("CompatibleArchitectures") or [],
        "license": properties.text("LicenseInfo") or "",
    }
    properties.raw("RetentionPolicy")  # versions stay until somebody removes them
    properties.rest({})
    content = path_in(template, given) if isinstance(given, Uri) else given
    return LayerPlan(id=resource.id, name=name, content=content, fields=fields)


def plan_version(properties: Properties) -> VersionPlan:
    name, _ = function_in(properties, "FunctionName")
    plan = VersionPlan(
        function=name, description=properties.text("Description"), provisioned=provisioned_in(properties)
    )
    properties.rest({})
    return plan


def plan_alias(properties: Properties) -> AliasPlan:
    function, _ = function_in(properties, "FunctionName")
    name, version = properties.needed_text("Name"), properties.needed_text("FunctionVersion")
    if name is None or version is None:
        raise Refused(f"{properties.where}: Name and FunctionVersion are required")
    routing: dict[str, float] = {}
    weights = properties.within("RoutingConfig").need("AdditionalVersionWeights") or []
    for each in weights if isinstance(weights, list) else [weights]:
        other, share = (each.get("FunctionVersion"), each.get("FunctionWeight")) if isinstance(each, dict) else (0, 0)
        try:
            routing[str(other)] = float(str(share))
        except ValueError:
            raise properties.wrong("RoutingConfig", "versions with their FunctionWeight, 0 to 1") from None
    fields = {"version": version, "routing": routing, "description": properties.text("Description") or ""}
    provisioned = provisioned_in(properties)
    properties.rest({})
    return AliasPlan(function=function, name=name, fields=fields, provisioned=provisioned)


def plan_event_config(properties: Properties) -> tuple[str, EventConfig]:
    """With the function's name."""
    name, _ = function_in(properties, "FunctionName")
    qualifier = properties.needed_text("Qualifier")
    config = event_config(properties, None if qualifier == "$LATEST" else qualifier)
    properties.rest({})
    return name, config


def plan_url(properties: Properties) -> UrlPlan:
    """Raises: `Skipped`, `Refused`."""
    name, qualifier = function_in(properties, "TargetFunctionArn")
    qualifier = properties.needed_text("Qualifier") or qualifier
    return UrlPlan(function=name, qualifier=qualifier, fields=url_fields(properties))


def opening_permission(properties: Properties) -> tuple[str, str | None] | None:
    """Name and qualifier of the function whose URL everybody may call; None: it is about what opens a URL on AWS
    besides. Raises: `Skipped` for any other permission."""
    name, qualifier = function_in(properties, "FunctionName")
    action, principal = properties.needed_text("Action"), properties.needed_text("Principal")
    kind = properties.needed_text("FunctionUrlAuthType")
    others = [each for each in properties.names if each != "InvokedViaFunctionUrl"]
    opens = action == "lambda:InvokeFunctionUrl" and kind in (None, "NONE")
    if principal != "*" or others or not (opens or action == "lambda:InvokeFunction"):
        raise Skipped("only a permission that opens a function's URL to everybody has an effect")
    return (name, qualifier) if opens else None


def function_in(properties: Properties, name: str) -> tuple[str, str | None]:
    """Name and qualifier of the function that a property names."""
    text = properties.needed_text(name)
    if text is None:
        raise Refused(f"{properties.where}.{name}: required")
    if not (found := _FUNCTION.match(text)):
        raise properties.wrong(name, "a function's name or ARN")
    return found[1], found[2]
