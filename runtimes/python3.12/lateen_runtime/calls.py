"""One call of a handler, and what is said of it.

The names are those of AWS's client, and the bootstrap shows this module where that client is looked for: Sentry's and
Honeybadger's libraries replace `handle_event_request` and methods of `LambdaRuntimeClient` to see each call.
"""

import os

from lateen_runtime.context import LambdaContext
from lateen_runtime.faults import Fault, document_of
from lateen_runtime.json_text import from_json, to_json
from lateen_runtime.output import current, log_error


class LambdaRuntimeClient:
    def __init__(self, channel):
        self._channel = channel

    def post_invocation_result(self, request_id, answer):
        self._channel.respond(request_id, answer)

    def post_invocation_error(self, request_id, document):
        self._channel.fail(request_id, document)

    def post_init_error(self, document):
        self._channel.fail_init(document)


def handle_event_request(client, handler, meta, body):
    """Args:
    meta: the event's, as the channel has them.
    """
    request_id, deadline_ms, arn, trace_id, client_context, identity, split = meta
    current.request_id = request_id
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
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
    else:
        client.post_invocation_result(request_id, answer)
        return
    # Nothing of the error is held any more, as with AWS's client.
    log_error(document)
    client.post_invocation_error(request_id, document)
