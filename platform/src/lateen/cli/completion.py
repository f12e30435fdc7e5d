"""`lateen completion`: a shell's completion script, and the names that only the server knows."""

import os

import click
from click.shell_completion import CompletionItem, get_completion_class

from lateen.cli.client import Client
from lateen.cli.connection import Connection
from lateen.cli.refusals import Refused

_HOW = """\b
bash   echo 'eval "$(lateen completion bash)"' >> ~/.bashrc
zsh    echo 'eval "$(lateen completion zsh)"' >> ~/.zshrc
fish   lateen completion fish > ~/.config/fish/completions/lateen.fish
"""


@click.command(help=f"Print the completion script of a shell.\n\n{_HOW}")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "lateen", "_LATEEN_COMPLETE").source())


def function_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names in the workspace that begin so. A completion that fails is no completion, never an error."""
    from lateen.cli.lookup import functions_in, workspace_named

    try:
        with Client(Connection.from_env(os.environ)) as client:
            where = workspace_named(client, context.params.get("workspace"))
            return [
                CompletionItem(function["name"], help=function.get("description") or None)
                for function in functions_in(client, where["id"])
                if function["name"].startswith(incomplete)
            ]
    except (Refused, OSError):
        return []
