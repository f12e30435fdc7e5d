"""`lateen deploy`: a file or a folder becomes a function, or a new revision of one."""

import base64
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import click
import msgspec

from lateen.cli.buckets import CodePath, S3Place
from lateen.cli.client import Client
from lateen.cli.configuration import body_from, configuration_options, variables_given
from lateen.cli.connection import Connection, with_connection
from lateen.cli.images import image_fields, image_options, name_in
from lateen.cli.layers import layers_from
from lateen.cli.lookup import function_if_any, workspace_named, workspace_option
from lateen.cli.output import Output, output_option, plain, show_fields, show_json, show_table
from lateen.cli.packing import pack, zipped
from lateen.cli.refusals import Refused
from lateen.cli.revisions import settled, stored
from lateen.cli.sam.deploying import Deployed, deploy_template
from lateen.cli.sam.templates import template_at
from lateen.domain.names import NAME

_NAMES = "give it one with --name: at most 64 letters of a to z, digits, - and _"


@click.command()
@click.argument("path", type=CodePath(), required=False)
@click.option("--name", help="The function's name; else the file's or folder's, or the image's.")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    callback=variables_given,
    help="Of a SAM template; again for more.",
)
@image_options
@configuration_options
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until it runs.")
@output_option
@with_connection
def deploy(
    connection: Connection,
    /,
    path: Path | S3Place | None,
    name: str | None,
    parameters: dict[str, str],
    workspace: str | None,
    no_wait: bool,
    output: Output,
    **options: Any,
) -> None:
    """Make a function of PATH or of an image, or give the one of that name new code, and print its URL.

    PATH is a source file, a zip, or a folder, of which version control, caches and virtual environments are left out,
    and what its .lateenignore names as a .gitignore would. What the code depends on is installed for it where it runs.
    s3://BUCKET/KEY, with ?versionId=VERSION for an older one, is a zip in a bucket that the workspace may use. Images,
    made from AWS's base images or with any other client of the Lambda Runtime API, run on Kubernetes only. What isn't
    given stays as it is; of a new function it is the default.

    PATH may be a SAM or CloudFormation template, or a folder with a template.yaml. Its functions, layers, versions,
    aliases and URLs are deployed, and all else in it is named. Nothing is removed.
    """
    if (path is None) == (options["image"] is None):
        raise click.UsageError("give either PATH or --image")
    if isinstance(path, Path) and (template := template_at(path)) is not None:
        _check_no_options(name, options)
        with Client(connection) as client:
            done = deploy_template(client, template, parameters=parameters, workspace=workspace, wait=not no_wait)
        _show_deployed(done, output)
        return
    if parameters:
        raise click.UsageError("--parameter is of a template, and there is none")
    with Client(connection) as client:
        function = deployed(client, path, name=name, workspace=workspace, options=options)
        if not no_wait:
            function = settled(client, function)
    if output == "json":
        show_json(function)
    else:
        click.echo(function["url"])


def options_from(*words: str) -> dict[str, Any]:
    """What `deployed` takes, of the words of a command line."""
    command = image_options(configuration_options(click.Command("deploy")))
    return dict(command.make_context("deploy", list(words)).params)


def _check_no_options(name: str | None, options: dict[str, Any]) -> None:
    unsaid = {"name": None, **options_from()}
    given = [option for option, value in {"name": name, **options}.items() if value != unsaid[option]]
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise click.UsageError(f"{option} is of one function; of these the template says it")


def _show_deployed(done: Deployed, output: Output) -> None:
    """Raises: `Refused` if anything of the template failed."""
    if output == "json":
        show_json(msgspec.to_builtins(done))
    else:
        if done.functions:
            show_table(done.functions.values(), {"FUNCTION": "name", "STATE": "state", "URL": "url"}, empty="")
        if done.outputs:
            show_fields({f"{name}:": value for name, value in done.outputs.items()})
    if done.failed:
        lines = [f"\n  {resource_id}: {plain(reason)}" for resource_id, reason in done.failed.items()]
        raise Refused(f"not deployed:{''.join(lines)}", hint="mend these and deploy again")


def deployed(
    client: Client, path: Path | S3Place | None, *, name: str | None, workspace: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Create or update; nothing is changed if everything is as it was. Says on stderr which of them it was.

    Args:
        path: None: an image, which is among the options.
    """
    code = pack(path) if isinstance(path, Path) else b""
    name = name or _name_of(path, options)
    if not re.match(NAME, name):
        raise Refused(f"{name!r} can't be a function's name", hint=_NAMES)
    where = workspace_named(client, workspace)
    before = function_if_any(client, where["id"], name)
    fields = image_fields(options, known=before.get("image_config") if before else None)
    fields |= body_from(
        options,
        known=before["environment"] if before else {},
        logs=before.get("logging_config") if before else None,
    )
    runtimes = []
    if isinstance(path, S3Place):
        fields["code_s3"] = path.fields
    elif path is not None:
        if before is None or _is_source(path, code):
            runtimes = client.call("GET", "/lambda/runtimes")
        handler = str(fields.get("handler") or (before or {}).get("handler", ""))
        fields["code"] = base64.b64encode(package_of(runtimes, path, code, handler=handler)).decode()
    fields |= layers_from(client, where["id"], options)
    if before is None and "runtime" not in fields:
        if isinstance(path, S3Place):
            usable = [entry for entry in client.call("GET", "/lambda/runtimes") if not entry["disabled"]]
            raise _unnamed("the runtime is not given", usable)
        if path is not None:
            fields["runtime"] = _runtime_for(runtimes, path, code)
    return stored(client, where["id"], name, fields, before)


def _name_of(path: Path | S3Place | None, options: dict[str, Any]) -> str:
    match path:
        case None:
            return name_in(options["image"])
        case S3Place():
            return path.stem
        case Path():
            whole = path.resolve()
            return whole.name if whole.is_dir() else whole.stem


def _is_source(path: Path, code: bytes) -> bool:
    return path.is_file() and not zipfile.is_zipfile(io.BytesIO(code))


def package_of(runtimes: list[dict[str, Any]], path: Path, code: bytes, *, handler: str) -> bytes:
    """A single file has the name that its runtime gives it. Where the handler calls it by its own, it is put into a zip
    under that; where the runtime's would make it of another kind (`.mjs` of `.cjs`), under the same with its end."""
    if not _is_source(path, code):
        return code
    called = {entry["file"] for entry in runtimes if path.name.endswith(tuple(entry["sources"]))}
    if len(called) != 1:
        return code
    name = called.pop()
    if handler.startswith(f"{path.stem}.") and path.stem != Path(name).stem:
        return zipped(path.name, code)
    return code if path.suffix == Path(name).suffix else zipped(Path(name).with_suffix(path.suffix).name, code)


def _runtime_for(runtimes: list[dict[str, Any]], path: Path, code: bytes) -> str:
    """What the source's file names stand for, if it is one language; the server knows its usual version."""
    usable = [entry for entry in runtimes if not entry["disabled"]]
    names = [path.name]
    if not _is_source(path, code):
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            names = archive.namelist()
    # What lies at the top says it; where nothing does, all that is in there.
    for seen in ([name for name in names if "/" not in name], names):
        meant = {entry["runtime"] for entry in usable if any(name.endswith(tuple(entry["sources"])) for name in seen)}
        if meant:
            break
    if len(meant) != 1:
        why = f"these files could be of {' or '.join(sorted(meant))}" if meant else "the runtime is not given"
        raise _unnamed(why, usable)
    return str(meant.pop())


def _unnamed(why: str, usable: list[dict[str, Any]]) -> Refused:
    return Refused(why, hint=f"name one with --runtime; here are: {', '.join(e['name'] for e in usable) or 'none'}")
