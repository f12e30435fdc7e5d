"""`lateen up`."""

import click


@click.command()
def up() -> None:
    """Start."""
