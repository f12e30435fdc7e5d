"""`lateen list`, `info`, `update` and `delete`: functions that are there."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from lateen.cli.buckets import CodePath, S3Place
from lateen.cli.client import Client
from lateen.cli.completion import function_names
from lateen.cli.configuration import body_from, configuration_options
from lateen.cli.connection import Connection, with_connection
from lateen.cli.deploy import package_of
from lateen.cli.images import image_fields, image_options
from lateen.cli.layers import layers_from
from lateen.cli.lookup import function_named, functions_in, workspace_named, workspace_option
from lateen.cli.output import Output, output_option, show_fields, show_json, show_table, size_of
from lateen.cli.packing import pack
from lateen.cli.refusals import note
from lateen.cli.revisions import settled, updated

COLUMNS = {
    "NAME": "name",
    "STATE": "state",
    "RUNTIME": "runtime",
    "AUTH": "auth",
    "REVISION": "revision",
    "UPDATED": "updated_at",
    "URL": "url",
}


@click.command(name="list")
@workspace_option
@output_option
@with_connection
def list_functions(connection: Connection, workspace: str | None, output: Output) -> None:
    """Show a workspace's functions."""
    with Client(connection) as client:
        found = list(functions_in(client, workspace_named(client, workspace)["id"]))
    if output == "json":
        show_json(found)
    else:
        lines = [each | {"runtime": each["runtime"] or "image"} for each in found]
        show_table(lines, COLUMNS, empty="there is no function yet; 'lateen deploy PATH' makes one")


@click.command()
@click.argument("name", shell_complete=function_names)
@workspace_option
@output_option
@with_connection
def info(connection: Connection, name: str, workspace: str | None, output: Output) -> None:
    """Show everything about one function, by name or id."""
    with Client(connection) as client:
        _show(function_named(client, workspace, name), output)


@click.command()
@click.argument("name", shell_complete=function_names)
@click.option("--name", "new_name", metavar="NAME", help="Its new name; the URL stays.")
@click.option("--code", type=CodePath(), help="Its new code: a file, a zip or a folder, or s3://BUCKET/KEY.")
@image_options
@configuration_options
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until it runs.")
@output_option
@with_connection
def update(
    connection: Connection,
    /,
    name: str,
    new_name: str | None,
    code: Path | S3Place | None,
    workspace: str | None,
    no_wait: bool,
    output: Output,
    **options: Any,
) -> None:
    """Change a function; what isn't given stays as it is."""
    with Client(connection) as client:
        before = function_named(client, workspace, name)
        fields = image_fields(options, known=before.get("image_config"))
        fields |= body_from(options, known=before["environment"], logs=before.get("logging_config"))
        fields |= layers_from(client, before["workspace"], options)
        if new_name is not None:
            fields["name"] = new_name
        if isinstance(code, S3Place):
            fields["code_s3"] = code.fields
        elif code is not None:
            handler = str(fields.get("handler", before["handler"]))
            package = package_of(client.call("GET", "/lambda/runtimes"), code, pack(code), handler=handler)
            fields["code"] = base64.b64encode(package).decode()
        if not fields and not options["unset"] and not options["env"]:
            raise click.UsageError("nothing to change: give at least one option")
        function = updated(client, before, fields) if fields else before
        if not no_wait:
            function = settled(client, function)
    _show(function, output)


@click.command()
@click.argument("name", shell_complete=function_names)
@click.option("--version", metavar="NUMBER", help="This version of it only.")
@workspace_option
@output_option
@with_connection
def delete(connection: Connection, name: str, version: str | None, workspace: str | None, output: Output) -> None:
    """Remove a function, or one version of it.

    Its URL and its name are free at once. Lateen removes its logs within minutes of the last call, and its code, unless
    another function has the same, within two hours.
    """
    with Client(connection) as client:
        found = function_named(client, workspace, name)
        if version is None:
            client.call("DELETE", f"/api/functions/{found['id']}")
        else:
            client.call("DELETE", f"/api/functions/{found['id']}/versions/{quote(version, safe='')}")
    if output == "json":
        show_json({"id": found["id"]} | ({} if version is None else {"version": version}) | {"deleted": True})
    what = f"function '{found['name']}'"
    note(f"removed {what}" if version is None else f"removed version {version} of {what}")


def _show(function: dict[str, Any], output: Output) -> None:
    if output == "json":
        show_json(function)
        return
    variables = ", ".join(sorted(function["environment"]))
    shown = {"environment": variables, "layers": ", ".join(function["layers"])}
    settings = {name: value for name, value in (function["image_config"] or {}).items() if value}
    logging = {name: value for name, value in function["logging_config"].items() if value}
    shown["logging_config"] = ", ".join(f"{name}: {value}" for name, value in logging.items())
    shown["image_config"] = ", ".join(f"{name}: {json.dumps(value)}" for name, value in settings.items())
    show_fields(function | shown | {"code_size": size_of(function["code_size"])})
