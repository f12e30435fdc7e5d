"""`lateen layer`: zips that functions share; and how `--layer` names one."""

import base64
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from lateen.cli.buckets import CodePath, S3Place
from lateen.cli.client import Client
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import workspace_named, workspace_option
from lateen.cli.output import Output, output_option, show_json, show_table, size_of
from lateen.cli.packing import pack
from lateen.cli.refusals import Refused, hints, note
from lateen.domain.layers import is_layer_name

COLUMNS = {
    "NAME": "name",
    "VERSION": "version",
    "SIZE": "size",
    "RUNTIMES": "runtimes",
    "CREATED": "created_at",
    "DESCRIPTION": "description",
}
_ZIP = b"PK"


@click.group(name="layer")
def layer() -> None:
    """Publish, list and remove layers, which functions see in /opt."""


@layer.command()
@click.argument("name")
@click.argument("path", type=CodePath())
@click.option("--runtime", "runtimes", multiple=True, metavar="NAME", help="What it is for; again for more.")
@click.option("--description", help="What is in it.")
@workspace_option
@output_option
@with_connection
def publish(
    connection: Connection,
    name: str,
    path: Path | S3Place,
    runtimes: tuple[str, ...],
    description: str | None,
    workspace: str | None,
    output: Output,
) -> None:
    """Make PATH, a folder, a zip or s3://BUCKET/KEY, the next version of layer NAME, and print its ARN.

    What is in it is seen in /opt by functions that have it: python/ and nodejs/node_modules/ hold packages, bin/
    programs, lib/ libraries.
    """
    body = {
        "name": name,
        **(_packed(path) if isinstance(path, Path) else {"content_s3": path.fields}),
        "runtimes": list(runtimes),
        "description": description or "",
    }
    with Client(connection) as client:
        where = workspace_named(client, workspace)["id"]
        made = client.call(
            "POST",
            f"/api/workspaces/{where}/layers",
            body=json.dumps(body).encode(),
            headers={"idempotency-key": str(uuid4())},
        )
    note(f"published version {made['version']} of '{name}', {size_of(made['size'])}")
    if output == "json":
        show_json(made)
    else:
        click.echo(made["arn"])


@layer.command(name="list")
@click.argument("name", required=False)
@workspace_option
@output_option
@with_connection
def list_layers(connection: Connection, name: str | None, workspace: str | None, output: Output) -> None:
    """Show the newest version of each layer, or all versions of layer NAME."""
    with Client(connection) as client:
        path = f"/api/workspaces/{workspace_named(client, workspace)['id']}/layers"
        found = list(client.pages(path if name is None else f"{path}/{_checked(name)}/versions"))
    if output == "json":
        show_json(found)
        return
    rows = [each | {"runtimes": ", ".join(each["runtimes"]), "size": size_of(each["size"])} for each in found]
    none = "there is no layer yet" if name is None else f"there is no layer '{name}'"
    show_table(rows, COLUMNS, empty=f"{none}; 'lateen layer publish {name or 'NAME'} PATH' makes one")


@layer.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@workspace_option
@output_option
@with_connection
def delete(connection: Connection, name: str, version: int, workspace: str | None, output: Output) -> None:
    """Remove a version; functions that have it keep it."""
    with Client(connection) as client:
        where = workspace_named(client, workspace)["id"]
        path = f"/api/workspaces/{where}/layers/{_checked(name)}/versions/{version}"
        with hints(not_found="'lateen layer list NAME' shows the versions that there are"):
            client.call("GET", path)
        client.call("DELETE", path)
    if output == "json":
        show_json({"name": name, "version": version, "deleted": True})
    note(f"removed version {version} of layer '{name}'")


def _packed(path: Path) -> dict[str, str]:
    content = pack(path)
    if not content.startswith(_ZIP):
        raise Refused(f"{path} is no zip", hint="name a zip or a folder")
    return {"content": base64.b64encode(content).decode()}


def layers_from(client: Client, workspace_id: str, options: dict[str, Any]) -> dict[str, list[str]]:
    """The field to send, of `--layer` and `--no-layers`; nothing where neither is given. Raises: `Refused`."""
    if options["layer"] and options["no_layers"]:
        raise click.UsageError("give --layer or --no-layers, not both")
    if not options["layer"] and not options["no_layers"]:
        return {}
    return {"layers": [_arn_of(client, workspace_id, given) for given in options["layer"]]}


def _arn_of(client: Client, workspace_id: str, given: str) -> str:
    """An ARN as it is; of `NAME:VERSION` that version's, of `NAME` the newest one's."""
    if given.startswith("arn:"):
        return given
    name, colon, version = given.partition(":")
    if not is_layer_name(name) or (colon and not (version.isascii() and version.isdigit())):
        raise Refused(f"'{given}' is no layer", hint="name one as NAME, NAME:VERSION or by its ARN")
    path = f"/api/workspaces/{workspace_id}/layers/{name}/versions"
    if colon:
        one: str = client.call("GET", f"{path}/{int(version)}")["arn"]
        return one
    found = client.call("GET", path, params={"limit": 1})["items"]
    if not found:
        raise Refused(
            f"there is no layer '{name}'", slug="not-found", hint="'lateen layer list' shows those that there are"
        )
    arn: str = found[0]["arn"]
    return arn


def _checked(name: str) -> str:
    if not is_layer_name(name):
        raise Refused(f"'{name}' can't be a layer's name", hint="at most 140 letters of a to z, digits, - and _")
    return name
