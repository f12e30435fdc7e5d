"""One environment: a handler is found, then called with one event after another."""

import gc
import os
import site
import sys
import time

from lateen_runtime.context import LambdaContext, read_variables
from lateen_runtime.faults import Fault, document_of
from lateen_runtime.handlers import find_handler, let_user_modules_win, names_in
from lateen_runtime.json_text import from_json, to_json, use_execution_env
from lateen_runtime.output import current, log_error, open_output, set_up_logging

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
    try:
        handler = find_handler(name)
    except Exception as exc:
        document = document_of(exc)
        log_error(document)
        channel.fail_init(document)
        sys.exit(1)
    # What initialisation made stays; the collector need not look at it again.
    gc.freeze()
    channel.ready()
    serve(channel, handler)


def serve(channel, handler):
    """Events to the handler, answers back, until the channel ends."""
    environ = os.environ
    while (given := channel.next()) is not None:
        (request_id, deadline_ms, arn, trace_id, client_context, identity, split), body = given
        current.request_id = request_id
        if trace_id:
            environ["_X_AMZN_TRACE_ID"] = trace_id
        else:
            environ.pop("_X_AMZN_TRACE_ID", None)
        try:
            context = LambdaContext(request_id, int(deadline_ms), arn, client_context, identity)
            if split:
                # A function URL's body comes apart, as text: so it is neither escaped nor read as JSON.
                event = from_json(body[: int(split)])
                event["body"] = str(body[int(split) :], "utf-8")
            else:
                event = from_json(body)
            answer = handler(event, context)
            if not isinstance(answer, bytes):
                try:
                    answer = to_json(answer).encode()
                except Exception as exc:
                    raise Fault("Runtime.MarshalError", f"Unable to marshal response: {exc}") from None
        except Exception as exc:
            document = document_of(exc, request_id)
            log_error(document)
            channel.fail(request_id, document)
            exc = None
        else:
            channel.respond(request_id, answer)
        # Nothing of one call stays for the next one, least of all its memory.
        given = body = event = answer = context = None
