"""Everything of a template that Lateen has, deployed into one workspace. Again changes what has changed, and removes
nothing."""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from msgspec import Struct, field

from lateen.cli.aliases import moved
from lateen.cli.buckets import S3Place
from lateen.cli.client import Client
from lateen.cli.env import DEFAULT_REGION
from lateen.cli.lookup import function_if_any, workspace_named
from lateen.cli.output import plain
from lateen.cli.packing import pack, zipped
from lateen.cli.provisioned import keep_none, keep_started, kept_started
from lateen.cli.refusals import Refused, note
from lateen.cli.revisions import settled, stored
from lateen.cli.sam.functions import EventConfig, FunctionPlan, Runtimes
from lateen.cli.sam.intrinsics import NotYet
from lateen.cli.sam.plans import Plans
from lateen.cli.sam.reading import Value
from lateen.cli.sam.resources import LayerPlan
from lateen.cli.sam.templates import Template, parameters_of
from lateen.cli.urls import url_removed, url_set
from lateen.domain.versions import is_number

P = ParamSpec("P")
T = TypeVar("T")
_ZIP = b"PK"


class Deployed(Struct):
    """What has become of a template."""

    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """As REST shows them, by logical id; `url` is the alias's where that has one, null where nobody may call it."""
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Reasons, by where it stands in the template."""
    failed: dict[str, str] = field(default_factory=dict)
    """The same of functions and layers that should have been deployed."""


def deploy_template(
    client: Client, template: Template, *, parameters: dict[str, str], workspace: str | None, wait: bool
) -> Deployed:
    """Raises: `Refused` before anything is changed, if the template is wrong."""
    values = parameters_of(template, parameters)
    where = workspace_named(client, workspace)
    plans = Plans(
        template,
        parameters=values,
        runtimes=Runtimes(client.call("GET", "/lambda/runtimes")),
        region=os.environ.get("AWS_REGION") or DEFAULT_REGION,
        account_id=where["account_id"],
        stack=template.folder.name or "stack",
    )
    try:
        deployment = _Deployment(client, where["id"], plans, wait=wait)
        deployment.rehearse()
        told = _tell_left_out(plans, ())
        deployment.carry_out()
    except RecursionError:
        raise Refused("the template's values lead to each other too deeply") from None
    _tell_left_out(plans, told)
    return deployment.outcome


class _Deployment:
    def __init__(self, client: Client, workspace_id: str, plans: Plans, *, wait: bool) -> None:
        self._client = client
        self._workspace_id = workspace_id
        self._plans = plans
        self._wait = wait
        self._packed: dict[str, bytes] = {}
        """What functions and layers hold, by logical id; not of those in a bucket."""
        self._planned: list[str] = []
        """Logical ids of the functions that are to be deployed."""
        self.outcome = Deployed(left_out=plans.left_out, failed=plans.failed)

    def rehearse(self) -> None:
        """Finds what is wrong with the template, and reads all that is sent."""
        plans = self._plans
        for layer in plans.layers():
            if isinstance(layer.content, S3Place):
                continue
            content = pack(layer.content)
            if not content.startswith(_ZIP):
                raise Refused(f"{layer.id}: {layer.content} is no zip", hint="name a zip or a folder")
            self._packed[layer.id] = content
        for resource_id in plans.names:
            if (plan := plans.function(resource_id)) is not None:
                self._planned.append(resource_id)
                if plan.code is not None and not isinstance(plan.code, S3Place):
                    self._packed[resource_id] = _code_of(plan.code, plan.inline_name)
        for _ in (*plans.versions(), *plans.aliases(), *plans.event_configs()):
            pass
        plans.outputs()
        plans.intrinsics.is_rehearsal = False

    def carry_out(self) -> None:
        plans = self._plans
        for layer in plans.layers():
            with_layer = self._tried(layer.id, self._published, layer)
            if with_layer is not None:
                self.outcome.layers[layer.id] = with_layer
                plans.has_layer(layer.id, with_layer["arn"])
        waiting = self._planned
        while waiting:
            ready = self._ready(waiting)
            waiting = [each for each in waiting if each not in ready]
            if not ready:
                for resource_id in waiting:
                    plans.failed[resource_id] = "it waits for what is not deployed, or waits for it in turn"
                break
            plans_by_id = {resource_id: plan for resource_id, plan in ready.items() if plan is not None}
            # All first, then wait for each: they are built and started side by side.
            made = {
                resource_id: function
                for resource_id, plan in plans_by_id.items()
                if (function := self._tried(resource_id, self._stored, plan)) is not None
            }
            for resource_id, function in made.items():
                plan = plans_by_id[resource_id]
                done = self._tried(resource_id, self._finished, plan, function)
                if done is not None:
                    self.outcome.functions[resource_id] = done
                    if plan.urls[plan.alias] is not None:
                        plans.has_url(plan.name, done["url"], plan.alias)
                    if plan.urls[None] is not None:
                        plans.has_url(plan.name, function["url"])
        self._beside()
        self.outcome.outputs = plans.outputs()

    def _ready(self, waiting: Iterable[str]) -> dict[str, FunctionPlan | None]:
        """Those whose values are all known by now; None: it is not deployed after all."""
        ready = {}
        for resource_id in waiting:
            try:
                ready[resource_id] = self._plans.function(resource_id)
            except NotYet:
                continue
        return ready

    def _published(self, layer: LayerPlan) -> dict[str, Any]:
        """The newest version if it is this one, else the next one."""
        path = f"/api/workspaces/{self._workspace_id}/layers"
        newest: list[dict[str, Any]] = self._client.call("GET", f"{path}/{layer.name}/versions", params={"limit": 1})[
            "items"
        ]

        def is_newest(sha256: str) -> bool:
            wanted = layer.fields | {"sha256": sha256}
            return bool(newest) and all(newest[0][name] == value for name, value in wanted.items())

        if isinstance(layer.content, S3Place):
            sent: dict[str, Any] = {"content_s3": layer.content.fields}
        else:
            content = self._packed[layer.id]
            if is_newest(hashlib.sha256(content).hexdigest()):
                return _unchanged(newest[0])
            sent = {"content": base64.b64encode(content).decode()}
        body = {"name": layer.name, **sent, **layer.fields}
        made: dict[str, Any] = self._client.call(
            "POST", path, body=json.dumps(body).encode(), headers={"idempotency-key": str(uuid4())}
        )
        if is_newest(made["sha256"]):  # which of a bucket's is known only now
            self._client.call("DELETE", f"{path}/{layer.name}/versions/{made['version']}")
            return _unchanged(newest[0])
        note(f"published version {made['version']} of layer '{layer.name}'")
        return made

    def _stored(self, plan: FunctionPlan) -> dict[str, Any]:
        before = function_if_any(self._client, self._workspace_id, plan.name)
        had = before["environment"] if before is not None else {}
        variables = {name: had[name] for name in plan.kept if name in had} | plan.fields["environment"]
        fields = plan.fields | {"environment": variables}
        if isinstance(plan.code, S3Place):
            fields["code_s3"] = plan.code.fields
        elif plan.id in self._packed:
            fields["code"] = base64.b64encode(self._packed[plan.id]).decode()
        if before is not None and fields["auth"] == "none":
            del fields["auth"]  # follows from the URL's settings
        function = stored(self._client, self._workspace_id, plan.name, fields, before)
        if (url := plan.urls[None]) is not None:
            url_set(self._client, function, None, url)
        elif before is not None:
            url_removed(self._client, function, None)
        else:
            return function
        now: dict[str, Any] = self._client.call("GET", f"/api/functions/{function['id']}")
        return now

    def _finished(self, plan: FunctionPlan, function: dict[str, Any]) -> dict[str, Any]:
        """Runs, and what else the template says of it is so."""
        if self._wait:
            function = settled(self._client, function)
        called = function["url"] if plan.urls[None] is not None else None
        shown = function | {"alias": plan.alias, "version": None, "url": called}
        if plan.alias is not None:
            version = self._publish(function, plan.version_description)
            self._plans.has_version(plan.id, plan.name, version)
            body = {"version": version, "routing": {}}
            moved(self._client, function, plan.alias, body, wait=self._wait)
            shown |= {"version": version}
            if (url := plan.urls[plan.alias]) is not None:
                shown |= {"url": url_set(self._client, function, plan.alias, url)["url"]}
            else:
                url_removed(self._client, function, plan.alias)
            if plan.provisioned is not None:
                self._keep_started(function, plan.alias, plan.provisioned)
        if plan.event_config is not None:
            self._configure(function, plan.event_config)
        return shown

    def _beside(self) -> None:
        """Versions, aliases and settings that are resources of their own."""
        functions = {each["name"]: each for each in self.outcome.functions.values()}
        kept: list[tuple[dict[str, Any], str]] = []
        """Versions that have provisioned concurrency of their own."""
        for resource_id, version in self._plans.versions():
            if (function := functions.get(version.function)) is None:
                continue
            if (number := self._tried(resource_id, self._publish, function, version.description)) is None:
                continue
            self._plans.has_version(resource_id, version.function, number)
            if version.provisioned is not None:
                done = self._tried(resource_id, self._keep_started, function, number, version.provisioned)
                kept += [] if done is None else [(function, number)]
        try:
            aliases = list(self._plans.aliases())
            configs = list(self._plans.event_configs())
            urls = list(self._plans.urls())
        except NotYet as exc:
            raise Refused(f"'{exc}' is not known, for it was not deployed") from None
        for alias in aliases:
            if (function := functions.get(alias.function)) is not None:
                where = f"{alias.function}:{alias.name}"
                self._tried(where, moved, self._client, function, alias.name, alias.fields, wait=self._wait)
                if alias.provisioned is not None and where not in self._plans.failed:
                    self._tried(where, self._keep_started, function, alias.name, alias.provisioned)
        for url in urls:
            if url.qualifier is not None and (function := functions.get(url.function)) is not None:
                where = f"{url.function}:{url.qualifier}"
                if (set_ := self._tried(where, url_set, self._client, function, url.qualifier, url.fields)) is not None:
                    self._plans.has_url(url.function, set_["url"], url.qualifier)
        for name, config in configs:
            if (function := functions.get(name)) is not None:
                self._tried(name, self._configure, function, config)
        for function, number in kept:
            self._tried(function["name"], self._release, function, number)

    def _keep_started(self, function: dict[str, Any], qualifier: str, count: int) -> dict[str, Any]:
        return keep_started(self._client, function, qualifier, count, wait=self._wait)

    def _release(self, function: dict[str, Any], number: str) -> None:
        """On AWS a template's version takes the place of the one before, with what that had provisioned."""
        for each in kept_started(self._client, function):
            if is_number(each["qualifier"]) and int(each["qualifier"]) < int(number):
                keep_none(self._client, function, each["qualifier"])

    def _publish(self, function: dict[str, Any], description: str | None) -> str:
        body = json.dumps({"description": description}).encode()
        version: str = self._client.call("POST", f"/api/functions/{function['id']}/versions", body=body)["version"]
        return version

    def _configure(self, function: dict[str, Any], config: EventConfig) -> None:
        asked = {"qualifier": config.qualifier} if config.qualifier is not None else {}
        path = f"/api/functions/{function['id']}/event-config"
        self._client.call("PUT", path, params=asked, body=json.dumps(config.fields).encode())

    def _tried(self, resource_id: str, done: Callable[P, T], *args: P.args, **named: P.kwargs) -> T | None:
        """None: it was refused, which is kept for the end; the others go on."""
        try:
            return done(*args, **named)
        except Refused as refusal:
            self._plans.failed[resource_id] = refusal.message
            note(f"error: {resource_id}: {refusal.message}")
            return None


def _unchanged(layer: dict[str, Any]) -> dict[str, Any]:
    note(f"layer '{layer['name']}' is unchanged at version {layer['version']}")
    return layer


def _code_of(given: Path | str, inline_name: str) -> bytes:
    if isinstance(given, str):
        return zipped(inline_name, given.encode())
    code = pack(given)
    # A handler is named after its file, so a file alone keeps its name.
    return zipped(given.name, code) if given.is_file() and not code.startswith(_ZIP) else code


def _tell_left_out(plans: Plans, told: Iterable[str]) -> set[str]:
    known = set(told)
    for where, reason in plans.left_out.items():
        if where not in known:
            note(plain(f"left out: {where}: {reason}").replace("\n", " "))
    return known | set(plans.left_out)
