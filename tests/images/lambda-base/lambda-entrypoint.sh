#!/bin/sh
# The one argument is the handler. AWS's images start an emulator where there is no Runtime API; this one refuses.
if [ "$#" -ne 1 ]; then
    echo "the handler's name has to be the only argument" >&2
    exit 142
fi
if [ -z "$AWS_LAMBDA_RUNTIME_API" ]; then
    echo "AWS_LAMBDA_RUNTIME_API is not set" >&2
    exit 1
fi
export _HANDLER="$1"
exec /var/runtime/bootstrap
