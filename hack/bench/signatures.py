"""What checking a signature of AWS's kind costs: `.venv/bin/python hack/bench/signatures.py`. Prints µs of one CPU."""

import hashlib
import statistics
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lateen.domain.sigv4 import Signable, check_time, parse, verify

SECRET = "s" * 40
PATH = "/2015-03-31/functions/hello/invocations"
ROUNDS, CALLS = 15, 2000


def invoke_request(body: bytes) -> Signable:
    """As boto3 sends it."""
    headers = {"Content-Type": "application/json", "X-Amz-Invocation-Type": "RequestResponse"}
    request = AWSRequest("POST", f"http://127.0.0.1:8000{PATH}", data=body, headers=headers)
    SigV4Auth(Credentials("LTNABCDEFGHIJKLMNOPQ", SECRET), "lambda", "us-east-1").add_auth(request)
    sent = [(name.lower().encode(), str(value).encode()) for name, value in request.prepare().headers.items()]
    more = [(b"host", b"127.0.0.1:8000"), (b"accept-encoding", b"identity"), (b"user-agent", b"Boto3/1.40")]
    return Signable("POST", PATH.encode(), b"", [*sent, *more])


def main() -> None:
    for size in (100, 100_000):
        body = b"x" * size
        request = invoke_request(body)
        found = []
        for _ in range(ROUNDS):
            begin_s = time.process_time()
            for _ in range(CALLS):
                signature = parse(request)
                check_time(signature, now_s=signature.time_s)
                verify(request, signature, secret=SECRET, payload_sha256=hashlib.sha256(body).hexdigest())
            found.append((time.process_time() - begin_s) / CALLS * 1e6)
        print(f"{size} bytes of body: {min(found):.0f} µs at best, {statistics.median(found):.0f} µs median")


if __name__ == "__main__":
    main()
