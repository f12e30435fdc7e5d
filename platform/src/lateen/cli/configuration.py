"""The options that describe a function, shared by `deploy` and `update`, and what of them goes into a request."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from lateen.cli.output import plain
from lateen.cli.refusals import note

F = TypeVar("F", bound=Callable[..., Any])
_LOGS = ("log_format", "log_level", "system_log_level")
_OTHERWISE = ("env", "unset", "layer", "no_layers", "no_reserved_concurrency", "no_role", *_LOGS)
"""What is not sent as it is given."""


def configuration_options(command: F) -> F:
    """They arrive as keyword arguments; None, or empty: not given. Limits are the server's to check."""
    for option in reversed(
        (
            click.option("--handler", metavar="FILE.NAME", help="What to call; the runtime has a default."),
            click.option("--runtime", metavar="NAME", help="Such as python3.12."),
            click.option("--timeout", type=int, metavar="SECONDS", help="1 to 900; 3 unless told."),
            click.option("--memory", type=int, metavar="MIB", help="Of each environment; 128 unless told."),
            click.option("--concurrency", type=int, metavar="N", help="Events at the same time; 10 unless told."),
            click.option("--replicas", type=int, metavar="N", help="Pods; embedded there is always one."),
            click.option(
                "--reserved-concurrency",
                type=int,
                metavar="N",
                help="Events at the same time over all pods and versions, at most; 0: none.",
            ),
            click.option("--no-reserved-concurrency", is_flag=True, help="Take that limit away."),
            click.option(
                "--env",
                "env",
                multiple=True,
                metavar="K=V",
                callback=variables_given,
                help="Set a variable; again for more.",
            ),
            click.option("--unset", multiple=True, metavar="K", help="Remove a variable; again for more."),
            click.option(
                "--auth", type=click.Choice(["none", "key"]), help="Who may call the URL: whoever knows it, or keys."
            ),
            click.option("--description", help="What it does."),
            click.option(
                "--layer",
                multiple=True,
                metavar="NAME[:VERSION]",
                help="A layer, its newest version unless told, or an ARN; again for more, which go over those before.",
            ),
            click.option("--no-layers", is_flag=True, help="Take its layers away."),
            click.option(
                "--role", metavar="ARN", help="IAM role whose credentials its code has, in a cluster that gives them."
            ),
            click.option("--no-role", is_flag=True, help="Take its role away."),
            click.option(
                "--log-format", type=click.Choice(["Text", "JSON"], case_sensitive=False), help="Of what it logs."
            ),
            click.option(
                "--log-level",
                type=click.Choice(["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"], case_sensitive=False),
                help="Below it nothing is logged; with JSON, INFO unless told.",
            ),
            click.option(
                "--system-log-level",
                type=click.Choice(["DEBUG", "INFO", "WARN"], case_sensitive=False),
                help="Of what is said of its invocations; with JSON, INFO unless told.",
            ),
        )
    ):
        command = option(command)
    return command


def body_from(
    options: Mapping[str, Any], *, known: Mapping[str, str], logs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The fields to send. Says on stderr which variables can't be removed, for there are none of the name.

    Args:
        known: the variables that the function has; those that aren't named stay.
        logs: its `logging_config`; None: there is no function yet.
    """
    for name in options["unset"]:
        if name not in known:
            note(f"there is no variable '{plain(name)}' to remove")
    body = {name: value for name, value in options.items() if value is not None and name not in _OTHERWISE}
    variables = {name: value for name, value in known.items() if name not in options["unset"]} | options["env"]
    if variables != known:
        body["environment"] = variables
    if options["no_reserved_concurrency"]:
        if options["reserved_concurrency"] is not None:
            raise click.UsageError("--reserved-concurrency and --no-reserved-concurrency exclude each other")
        body["reserved_concurrency"] = None
    if options["no_role"]:
        if options["role"] is not None:
            raise click.UsageError("--role and --no-role exclude each other")
        body["role"] = None
    if any(options[name] is not None for name in _LOGS):
        body["logging_config"] = _logs_after(options, logs or {})
    return body


def _logs_after(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Of Text there are no levels, so those that were of JSON go with that."""
    form = options["log_format"] or known.get("log_format") or "Text"
    levels = {"application_log_level": options["log_level"], "system_log_level": options["system_log_level"]}
    if form == "JSON":
        levels = {name: level or known.get(name) for name, level in levels.items()}
    return {"log_format": form} | {name: level for name, level in levels.items() if level is not None}


def variables_given(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE`, each."""
    variables = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"'{text}' is not of the form NAME=VALUE")
        variables[name] = value
    return variables
