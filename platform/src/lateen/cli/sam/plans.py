"""A template → everything that is to be deployed, in the order in which it is, and all that is left out."""

import re
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from lateen.cli.refusals import Refused
from lateen.cli.sam import functions, resources
from lateen.cli.sam.functions import EventConfig, FunctionPlan, Runtimes, plan_function, properties_of
from lateen.cli.sam.intrinsics import Intrinsics, Later, NotYet, Unknown
from lateen.cli.sam.properties import Properties, Skipped
from lateen.cli.sam.reading import Value
from lateen.cli.sam.resources import AliasPlan, LayerPlan, UrlPlan, VersionPlan
from lateen.cli.sam.templates import Resource, Template
from lateen.domain.names import NAME

P = ParamSpec("P")
T = TypeVar("T")
_URL = Later("https://localhost/")
_OWN = (*functions.KINDS, *resources.LAYERS, resources.VERSION, resources.ALIAS, resources.URL, resources.PERMISSION,
        resources.EVENT_CONFIG)  # fmt: skip


class Plans:
    """What stands in a template for one workspace. What is left out is told once, however often it is asked for."""

    def __init__(
        self,
        template: Template,
        *,
        parameters: dict[str, Value],
        runtimes: Runtimes,
        region: str,
        account_id: str,
        stack: str,
    ) -> None:
        self.template = template
        self.runtimes = runtimes
        self.left_out: dict[str, str] = {}
        """Reasons, by where it stands."""
        self.failed: dict[str, str] = {}
        """Of functions and layers that are not deployed, by logical id."""
        self._region = region
        self._account_id = account_id
        self.intrinsics = Intrinsics(
            mappings=template.mappings,
            conditions=template.conditions,
            resources={each.id: each.kind for each in template.resources.values()},
        )
        self.intrinsics.known |= {
            "AWS::Region": region,
            "AWS::AccountId": account_id,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack,
            **parameters,
        }
        self._here = [each for each in template.resources.values() if self._is_wanted(each)]
        self.names: dict[str, str] = {}
        """Of functions, by logical id."""
        self._urls: dict[tuple[str, str | None], Resource] = {}
        """Those that are resources of their own, by the function's name and the alias."""
        self._url_names: dict[tuple[str, str | None], list[str]] = {}
        """Logical ids of the URLs of a function, or of its alias."""
        for each in self._here:
            self._introduce(each)
        self._find_urls()

    def function(self, resource_id: str) -> FunctionPlan | None:
        """None: it is not deployed. Raises: `NotYet`, `Refused`."""
        resource, name = self.template.resources[resource_id], self.names[resource_id]
        urls = {url.qualifier: url.fields for url in self.urls(name)}
        return self._planned(
            resource,
            plan_function,
            self.template,
            resource,
            name=name,
            urls=urls,
            account_id=self._account_id,
            intrinsics=self.intrinsics,
            left_out=self._leave,
            runtimes=self.runtimes,
        )

    def layers(self) -> Iterator[LayerPlan]:
        for resource in self._of(*resources.LAYERS):
            properties = self._properties(resource)
            plan = self._planned(resource, resources.plan_layer, self.template, resource, properties)
            if plan is not None:
                yield plan

    def versions(self) -> Iterator[tuple[str, VersionPlan]]:
        """With their logical ids."""
        for resource in self._of(resources.VERSION):
            if (plan := self._beside(resource, resources.plan_version)) is not None:
                yield resource.id, plan

    def aliases(self) -> Iterator[AliasPlan]:
        for resource in self._of(resources.ALIAS):
            if (plan := self._beside(resource, resources.plan_alias)) is not None:
                yield plan

    def event_configs(self) -> Iterator[tuple[str, EventConfig]]:
        """With the functions' names."""
        for resource in self._of(resources.EVENT_CONFIG):
            if (found := self._beside(resource, resources.plan_event_config)) is not None:
                yield found

    def urls(self, name: str | None = None) -> Iterator[UrlPlan]:
        """Those that are resources of their own, and somebody may call. `name`: of this function alone."""
        for (function, _), resource in self._urls.items():
            if name in (None, function) and (plan := self._beside(resource, resources.plan_url)) is not None:
                yield plan

    def has_url(self, name: str, url: str, qualifier: str | None = None) -> None:
        """The function, or its alias, has been deployed."""
        for resource_id in self._url_names.get((name, qualifier), ()):
            self.intrinsics.known[f"{resource_id}.FunctionUrl"] = f"{url}/"

    def has_version(self, resource_id: str, name: str, version: str) -> None:
        """A version of the function has been published, for the function itself or for a resource of its own."""
        known = self.intrinsics.known
        known[f"{resource_id}.Version"] = version
        if resource_id not in self.names:
            known[resource_id] = f"{self.arn(name)}:{version}"

    def has_layer(self, resource_id: str, arn: str) -> None:
        self.intrinsics.known |= {resource_id: arn, f"{resource_id}.LayerVersionArn": arn}

    def outputs(self) -> dict[str, Value]:
        found = {}
        for name, output in self.template.outputs.items():
            if not isinstance(output, dict) or "Value" not in output:
                raise Refused(f"Outputs.{name}: a mapping with a Value")
            try:
                if "Condition" in output and not self.intrinsics.holds(output["Condition"]):
                    continue
                found[name] = self.intrinsics.value(output["Value"])
            except (Unknown, NotYet) as exc:
                self._leave(f"Outputs.{name}", str(exc))
        return found

    def arn(self, name: str) -> str:
        return f"arn:aws:lambda:{self._region}:{self._account_id}:function:{name}"

    def _is_wanted(self, resource: Resource) -> bool:
        if resource.kind not in _OWN:
            self._leave(f"{resource.id} ({resource.kind[:64]})", "only Lambda's resources are deployed")
            return False
        try:
            return resource.condition is None or self.intrinsics.holds(resource.condition)
        except Unknown as exc:
            self._fail(resource, f"its condition {exc}")
            return False

    def _introduce(self, resource: Resource) -> None:
        """What others may say of it: what is known from the beginning, and what only when it is deployed."""
        known = self.intrinsics.known
        if resource.kind in functions.KINDS:
            properties = properties_of(self.template, resource, self.intrinsics, self._leave)
            name = self._planned(resource, properties.needed_text, "FunctionName") or resource.id
            if resource.id in self.failed:
                return
            if not re.match(NAME, name):
                raise Refused(f"{resource.id}: {name[:80]!r} can't be a function's name")
            if name in self.names.values():
                raise Refused(f"{resource.id}: another function of the template is called '{name}' too")
            self.names[resource.id] = name
            url = f"{resource.id}Url"
            known |= {
                resource.id: name,
                f"{resource.id}.Arn": self.arn(name),
                f"{resource.id}.Version": Later("1"),
                url: self.arn(name),
                f"{url}.FunctionArn": self.arn(name),
                f"{url}.FunctionUrl": _URL,
            }
            alias = self._quietly(properties, "AutoPublishAlias")
            self._url_names.setdefault((name, alias), []).append(url)
            if alias is not None:
                for key in (f"{resource.id}.Alias", f"{resource.id}Alias{alias}"):
                    known[key] = f"{self.arn(name)}:{alias}"
        elif resource.kind in resources.LAYERS:
            layer = self._planned(resource, resources.layer_name, resource, self._properties(resource))
            arn = Later(f"arn:aws:lambda:{self._region}:{self._account_id}:layer:{layer}:1")
            known |= {resource.id: arn, f"{resource.id}.LayerVersionArn": arn}
        elif resource.kind == resources.VERSION:
            known |= {resource.id: Later(self.arn("f") + ":1"), f"{resource.id}.Version": Later("1")}

    def _find_urls(self) -> None:
        """Those that are resources of their own, and who may call them."""
        opened = {self._beside(each, resources.opening_permission) for each in self._of(resources.PERMISSION)}
        for resource in self._of(resources.URL):
            if (plan := self._beside(resource, resources.plan_url)) is None:
                continue
            where = plan.function, plan.qualifier
            arn = self.arn(plan.function) + (f":{plan.qualifier}" if plan.qualifier else "")
            self.intrinsics.known |= {
                resource.id: arn,
                f"{resource.id}.FunctionArn": arn,
                f"{resource.id}.FunctionUrl": _URL,
            }
            self._url_names.setdefault(where, []).append(resource.id)
            if plan.fields["auth_type"] == "NONE" and where not in opened:
                self._leave(resource.id, "nobody may call it: the template has no AWS::Lambda::Permission that says so")
            else:
                self._urls[where] = resource

    def _properties(self, resource: Resource) -> Properties:
        return Properties(resource.id, resource.properties, intrinsics=self.intrinsics, left_out=self._leave)

    def _of(self, *kinds: str) -> list[Resource]:
        return [each for each in self._here if each.kind in kinds]

    def _quietly(self, properties: Properties, name: str) -> str | None:
        """What can't be known is told when it is needed."""
        try:
            return properties.needed_text(name)
        except Skipped:
            return None

    def _beside(self, resource: Resource, planned: Callable[[Properties], T]) -> T | None:
        """Of a resource that belongs to a function."""
        try:
            return planned(self._properties(resource))
        except Skipped as skipped:
            self._leave(resource.id, str(skipped))
            return None

    def _planned(self, resource: Resource, planned: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
        try:
            return planned(*args, **named)
        except Skipped as skipped:
            self._fail(resource, str(skipped))
            return None

    def _leave(self, where: str, reason: str) -> None:
        self.left_out.setdefault(where, reason)

    def _fail(self, resource: Resource, reason: str) -> None:
        if resource.kind in (*functions.KINDS, *resources.LAYERS):
            self.failed.setdefault(resource.id, reason)
        else:
            self._leave(resource.id, reason)
