"""The commands that are the platform's processes in a cluster. They take nothing but settings from the environment.

What they do, listen on, read and end with is said in `lateen.cluster`.
"""

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lateen.cluster.settings import ClusterSettings


@click.command(hidden=True)
def api() -> None:
    """Serve the management surfaces in a cluster."""
    from lateen.cluster.api import ApiProcess
    from lateen.cluster.process import serve

    serve(ApiProcess, _settings(), service="api")


@click.command(hidden=True)
def gateway() -> None:
    """Serve functions' URLs in a cluster."""
    from lateen.cluster.gateway import GatewayProcess
    from lateen.cluster.process import serve

    serve(GatewayProcess, _settings(), service="gateway")


@click.command(hidden=True)
def controller() -> None:
    """Make a cluster run what the table says."""
    from lateen.cluster.controller import ControllerProcess
    from lateen.cluster.process import serve

    serve(ControllerProcess, _settings(), service="controller")


@click.command(hidden=True)
def worker() -> None:
    """Run asynchronous invocations in a cluster."""
    from lateen.cluster.process import serve
    from lateen.cluster.worker import WorkerProcess

    serve(WorkerProcess, _settings(), service="worker")


@click.command(hidden=True)
def migrate() -> None:
    """Make in the stores what has to be there, once."""
    from lateen.cluster.migrate import migrate as run

    run(_settings())


@click.command(hidden=True)
def secrets() -> None:
    """Make the installation's Secret, unless it is there."""
    from lateen.cluster.secrets import make_secrets

    make_secrets(_settings())


def _settings() -> "ClusterSettings":
    from lateen.cluster.settings import ClusterSettings
    from lateen.settings import BadSetting

    try:
        return ClusterSettings.from_env(os.environ)
    except BadSetting as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(2)
