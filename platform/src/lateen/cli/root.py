"""`lateen`: the group of all commands, and how each of them ends."""

import errno
import os
import sys
from importlib.metadata import version

import click

from lateen.cli import (
    aliases,
    completion,
    dead_letters,
    deploy,
    env,
    functions,
    invoke,
    keys,
    layers,
    logs,
    processes,
    provisioned,
    up,
    urls,
    versions,
    workspaces,
)
from lateen.cli.packing import is_text
from lateen.cli.refusals import DONE, INTERRUPTED, REFUSED, shown

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("lateen"), prog_name="lateen", message="%(prog)s %(version)s")
def root() -> None:
    """Lateen runs AWS Lambda functions on this machine.

    Lateen is found at LATEEN_ENDPOINT with the key in LATEEN_TOKEN; without them it is the one on this machine whose
    data lies in .lateen/ (LATEEN_DATA), on port 8000 (LATEEN_PORT).

    Exit codes: 0 done, 1 refused, 2 misused.
    """


for command in (
    up.up,
    env.env,
    deploy.deploy,
    functions.list_functions,
    functions.info,
    invoke.invoke,
    logs.logs,
    dead_letters.dead_letters,
    dead_letters.redrive,
    functions.update,
    functions.delete,
    versions.publish,
    versions.versions,
    versions.rollback,
    aliases.alias,
    urls.url,
    provisioned.provisioned,
    layers.layer,
    workspaces.workspace,
    keys.key,
    completion.completion,
    processes.api,
    processes.gateway,
    processes.controller,
    processes.worker,
    processes.migrate,
    processes.secrets,
):
    root.add_command(command)


def run(arguments: list[str]) -> int:
    """Runs one command. Returns: its exit code."""
    try:
        ended = root.main(arguments, prog_name="lateen", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
        return asked.exit_code
    except click.ClickException as error:
        click.echo(shown(error), err=True, nl=False)
        return error.exit_code
    except UnicodeEncodeError:
        wrong = next((each for each in arguments if not is_text(each)), None)
        if wrong is None:
            raise
        misuse = click.UsageError(f"the argument {wrong!a} is not UTF-8", click.Context(root, info_name="lateen"))
        click.echo(shown(misuse), err=True, nl=False)
        return misuse.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        if error.errno not in _FULL:
            raise
        # Output that was not written would be tried again at the end, and end with a trace.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""  # output has no name, nor has a file once it is open
        click.echo(f"error: {where}{error.strerror}", err=True)
        return REFUSED
    # `--help` and `--version` end with a code; commands return nothing.
    return ended if isinstance(ended, int) else DONE
