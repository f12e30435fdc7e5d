"""One environment: a handler is found, then called with one event after another."""

import gc
import os
import site
import sys
import time

from lateen_runtime import calls
from lateen_runtime.context import read_variables
from lateen_runtime.faults import document_of
from lateen_runtime.handlers import find_handler, let_user_modules_win, names_in
from lateen_runtime.json_text import use_execution_env
from lateen_runtime.output import log_error, open_output, set_up_logging

TAKEN = frozenset(sys.modules)
"""What an interpreter with a runtime client has loaded anyway: a user's module of one of these names loses, as it does
on AWS. Of any other name it wins, also over a module that the fork server has imported before."""


def run(channel):
    """One environment, from the interpreter with its variables to the end. Exits by SystemExit after an init error."""
    open_output()
    time.tzset()
    use_execution_env(os.environ.get("AWS_EXECUTION_ENV", ""))
    read_variables()
    task_root = os.environ["LAMBDA_TASK_ROOT"]
    os.chdir(task_root)
    layers = [folder for folder in os.environ.pop("_LATEEN_LAYERS", "").split(":") if folder]
    sys.path[:0] = [task_root, *layers]
    name = os.environ["_HANDLER"]
    sys.argv = [sys.argv[0], name]
    folders = {folder: names_in(folder) for folder in (task_root, *layers)}
    for folder, names in folders.items():
        let_user_modules_win(folder, names, TAKEN)
    set_up_logging()
    for folder, names in folders.items():
        if any(each.endswith(".pth") for each in names):
            site.addsitedir(folder)
    client = calls.LambdaRuntimeClient(channel)
    document = None
    try:
        handler = find_handler(name)
    except Exception as exc:
        document = document_of(exc)
    if document is not None:
        log_error(document)
        client.post_init_error(document)
        sys.exit(1)
    # What initialisation made stays; the collector need not look at it again.
    gc.freeze()
    channel.ready()
    while (given := channel.next()) is not None:
        # Looked up for each call: it may have been replaced.
        calls.handle_event_request(client, handler, *given)
        # Nothing of one call stays for the next one, least of all its memory.
        given = None
