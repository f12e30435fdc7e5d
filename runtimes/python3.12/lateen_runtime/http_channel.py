"""The Runtime API over HTTP, for an environment that inherited no channel.

Source: AWS Lambda Developer Guide, "Using the Lambda runtime API".
"""

import http.client

from lateen_runtime.json_text import to_json

_PATH = "/2018-06-01/runtime"
_TYPE = "Lambda-Runtime-Function-Error-Type"
_META = ("Aws-Request-Id", "Deadline-Ms", "Invoked-Function-Arn", "Trace-Id", "Client-Context", "Cognito-Identity")


class HttpChannel:
    """As `Channel`, but answers are posted one by one."""

    def __init__(self, address):
        self._connection = http.client.HTTPConnection(address)

    def ready(self):
        """The first `next` says it."""

    def next(self):
        self._connection.request("GET", f"{_PATH}/invocation/next")
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"the Runtime API answered {response.status}")
        # http.client reads headers as Latin-1; what was sent is UTF-8.
        given = (response.getheader(f"Lambda-Runtime-{name}", "") for name in _META)
        return [*(text.encode("latin-1").decode("utf-8", "replace") for text in given), ""], body

    def respond(self, request_id, body):
        self._post(f"/invocation/{request_id}/response", body, {})

    def fail(self, request_id, document):
        self._post_error(f"/invocation/{request_id}/error", document)

    def fail_init(self, document):
        self._post_error("/init/error", document)

    def _post_error(self, path, document):
        error_type = document["errorType"].encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
        self._post(path, to_json(document).encode("utf-8", "backslashreplace"), {_TYPE: error_type})

    def _post(self, path, body, headers):
        self._connection.request("POST", _PATH + path, body, {"Content-Type": "application/json", **headers})
        response = self._connection.getresponse()
        response.read()
        if response.status != 202:
            raise RuntimeError(f"the Runtime API answered {response.status}")
