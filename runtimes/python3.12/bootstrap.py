"""The Python runtime: calls a handler with events, as AWS Lambda's own Python client does, only faster.

It runs in two ways. `bootstrap.py FORKSERVER` is a fork server: it imports the standard library, holds no user code,
and is asked for environments, each of which is a fork of it; FORKSERVER is the module that makes and watches them, or
the word `init`, which does so in a pod. `bootstrap.py` alone is one environment, for those whose variables change how
an interpreter starts. Events come over an inherited socket, or over the Runtime API where there is none.
"""

import os
import site
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, _HERE)

from lateen_runtime import calls as bootstrap  # noqa: E402, F401  where libraries look for AWS's client
from lateen_runtime import environment  # noqa: E402
from lateen_runtime.channel import Channel  # noqa: E402

sys.path.remove(_HERE)

PACKAGES = os.path.join(_HERE, "packages")
"""What a function finds without bringing it, as on AWS: boto3 and what that needs. What it brings wins."""


def main():
    hidden = _host_packages()
    sys.path[:] = [*(folder for folder in sys.path if os.path.realpath(folder) not in hidden), PACKAGES]
    if len(sys.argv) > 1:
        environment.run(Channel(_fork_server(sys.argv[1])))
        return
    if (fd := os.environ.pop("_LATEEN_CHANNEL_FD", None)) is not None:
        environment.run(Channel(int(fd)))
    else:
        from lateen_runtime.http_channel import HttpChannel

        environment.run(HttpChannel(os.environ["AWS_LAMBDA_RUNTIME_API"]))


def _fork_server(path):
    """Returns only in a new environment: the descriptor of its channel."""
    from lateen_runtime.warm import warm

    # As without -S, but without the machine's packages.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    if path == "init":
        from lateen_runtime import fork_server

        return fork_server.serve(warm())
    package = os.path.dirname(os.path.dirname(os.path.abspath(path)))
    sys.path.append(package)
    from lateen_invoker import forkserver

    return forkserver.serve(warm(), hidden=package)


def _host_packages():
    """The folders of packages that belong to the interpreter, of which a function sees nothing."""
    return {os.path.realpath(folder) for folder in site.getsitepackages()}


if __name__ == "__main__":
    main()
