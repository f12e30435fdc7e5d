"""What a handler is given beside the event."""

import json
import os
import sys
import time

from lateen_runtime.faults import Fault

FUNCTION = dict.fromkeys((
    "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
))  # fmt: skip
"""The variables that a context shows; filled by `read_variables`."""


def read_variables():
    for name in FUNCTION:
        FUNCTION[name] = os.environ.get(name)


def _repr_of(self, names):
    return f"{type(self).__name__}([{','.join(f'{name}={getattr(self, name)}' for name in names)}])"


class CognitoIdentity:
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, given):
        self.cognito_identity_id = given.get("cognitoIdentityId")
        self.cognito_identity_pool_id = given.get("cognitoIdentityPoolId")

    def __repr__(self):
        return _repr_of(self, self.__slots__)


class _FromDict:
    __slots__ = ()

    def __init__(self, given):
        for name in self.__slots__:
            setattr(self, name, given.get(name))

    def __repr__(self):
        return _repr_of(self, self.__slots__)


class Client(_FromDict):
    # The order is that of its text form.
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")  # noqa: RUF023


class ClientContext(_FromDict):
    __slots__ = ("custom", "env", "client")  # noqa: RUF023

    def __init__(self, given):
        super().__init__(given)
        if self.client is not None:
            self.client = Client(self.client)


_W3C = ("traceparent", "tracestate", "baggage")
_NOBODY = {}
_SHOWN = (
    "aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb", "function_version",
    "invoked_function_arn", "client_context", "identity", "tenant_id",
)  # fmt: skip


class LambdaContext:
    """Source: AWS Lambda Developer Guide, "Using the Lambda context object to retrieve Python function information"."""

    def __init__(self, request_id, deadline_ms, arn, client_context="", identity=""):
        self.aws_request_id = request_id
        self.log_group_name = FUNCTION["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = FUNCTION["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.function_name = FUNCTION["AWS_LAMBDA_FUNCTION_NAME"]
        self.memory_limit_in_mb = FUNCTION["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.function_version = FUNCTION["AWS_LAMBDA_FUNCTION_VERSION"]
        self.invoked_function_arn = arn
        self.tenant_id = None
        self._w3c_fields = {}
        self.client_context = None
        if client_context:
            self._read_client_context(_header(client_context, "Client Context"))
        self.identity = CognitoIdentity(_header(identity, "Cognito Identity") if identity else _NOBODY)
        self._epoch_deadline_time_in_ms = deadline_ms

    def _read_client_context(self, given):
        if given is None:
            return
        w3c = given.pop("w3c", None) if isinstance(given, dict) else None
        if isinstance(w3c, dict):
            self._w3c_fields = {name: w3c[name] for name in _W3C if isinstance(w3c.get(name), str)}
        self.client_context = ClientContext(given)

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self):
        """The W3C trace context of this invocation."""
        return dict(self._w3c_fields)

    def log(self, msg):
        sys.stdout.write(str(msg))

    def __repr__(self):
        return _repr_of(self, _SHOWN)


def _header(text, name):
    try:
        return json.loads(text)
    except Exception as exc:
        raise Fault("Runtime.LambdaContextUnmarshalError", f"Unable to parse {name} JSON: {exc}") from None
