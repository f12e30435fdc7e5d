"""`lateen env`: what other tools need to find Lateen, as lines for a shell."""

import os
import shlex

import click

from lateen.cli.connection import Connection, is_loopback, with_connection
from lateen.cli.output import Output, output_option, show_json
from lateen.cli.refusals import Refused, note
from lateen.domain.keys import key_id_in
from lateen.domain.master import MASTER_FILE, MasterKey

DEFAULT_REGION = "us-east-1"


@click.command()
@output_option
@with_connection
def env(connection: Connection, output: Output) -> None:
    """Print exports for a shell: eval "$(lateen env)".

    They are Lateen's address and key, and the same for AWS tools. Keep them to yourself: they may do everything.
    """
    if connection.token is None:
        raise Refused(
            f"there is no key in {connection.data}",
            hint="start Lateen once with 'lateen up', or set LATEEN_DATA to its folder or LATEEN_TOKEN to a key",
        )
    region = os.environ.get("AWS_REGION") or DEFAULT_REGION
    variables = {
        "LATEEN_ENDPOINT": connection.endpoint,
        "LATEEN_TOKEN": connection.token,
        # Lambda, and what tools call on the way to it; S3, DynamoDB and all others stay where they are.
        **{f"AWS_ENDPOINT_URL_{service}": connection.endpoint for service in ("LAMBDA", "STS", "IAM")},
        **_aws_pair(connection),
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,  # botocore reads no other, so neither do boto3 and the AWS CLI of PyPI
    }
    if output == "json":
        show_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _aws_pair(connection: Connection) -> dict[str, str]:
    """Derived from the installation's master key, as the server derives it: it is stored nowhere."""
    key_id = key_id_in(connection.token or "")
    master = _master_key(connection)
    if key_id is None or master is None:
        note("note: the AWS pair is only known where Lateen's data folder is; it was shown when the key was made")
        return {}
    return {"AWS_ACCESS_KEY_ID": f"LTN{key_id.upper()}", "AWS_SECRET_ACCESS_KEY": master.aws_secret(key_id)}


def _master_key(connection: Connection) -> MasterKey | None:
    """This machine's; another one's Lateen has another one, from which other secrets come."""
    if not is_loopback(connection.endpoint):
        return None
    try:
        return MasterKey((connection.data / MASTER_FILE).read_bytes())
    except (OSError, ValueError):
        return None
