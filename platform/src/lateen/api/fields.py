"""Fields that several requests and answers have: their forms, as the decoder checks and the document shows them."""

from typing import Annotated, Literal

from msgspec import Meta

from lateen.domain.aws_settings import ROLE, ROLE_LENGTH
from lateen.domain.code_places import BUCKET, LISTED, MAX_LISTED, TEXT_LENGTH
from lateen.domain.events import ARN_LENGTH, EVENT_AGE_S, FUNCTION_ARN, RETRY_ATTEMPTS
from lateen.domain.functions import ACCOUNT_CONCURRENCY, UNRESERVED
from lateen.domain.images import DIRECTORY_LENGTH, REFERENCE, REFERENCE_LENGTH, WORDS
from lateen.domain.layers import ARCHITECTURES, LAYER_ARN, LAYER_NAME, LICENSE_LENGTH, MAX_LAYERS, MAX_RUNTIMES
from lateen.domain.names import DESCRIPTION, DESCRIPTION_LENGTH, HANDLER, HASH, ID, NAME, RUNTIME
from lateen.domain.versions import NUMBER, VERSION

NO_NUL = r"^[^\x00]*\Z"

Name = Annotated[str, Meta(pattern=NAME, examples=["hello"])]
Id = Annotated[str, Meta(pattern=ID, examples=["default"])]
Description = Annotated[str, Meta(max_length=DESCRIPTION_LENGTH, pattern=DESCRIPTION, examples=["Says hello"])]
RuntimeName = Annotated[str, Meta(pattern=RUNTIME, examples=["python3.12"])]
Version = Annotated[str, Meta(pattern=RUNTIME, examples=["3.12"])]
# Checked where the reason can be said in words.
Handler = Annotated[str, Meta(extra_json_schema={"pattern": HANDLER}, examples=["code.handler"])]
Base64 = Annotated[
    str,
    Meta(
        description="Base64 (standard alphabet, padded) of one source file, or of a zip.",
        min_length=4,
        examples=["ZGVmIGhhbmRsZXIoZXZlbnQsIGNvbnRleHQpOgogICAgcmV0dXJuICJoZWxsbyIK"],
        # Checked by what decodes it: a pattern over megabytes keeps everybody waiting.
        extra_json_schema={"contentEncoding": "base64", "pattern": r"^[A-Za-z0-9+/]+={0,2}\Z"},
    ),
]
Bucket = Annotated[str, Meta(pattern=BUCKET, examples=["packages"])]
ObjectText = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH, pattern=DESCRIPTION)]
CodeBuckets = Annotated[
    list[Annotated[str, Meta(max_length=TEXT_LENGTH, pattern=LISTED)]],
    Meta(
        max_length=MAX_LISTED,
        description="S3 buckets that callers may take code from: `bucket`, or `bucket/folder` for what lies below.",
        examples=[["packages", "releases/team-a"]],
    ),
]
ImageUri = Annotated[
    str,
    Meta(
        description="Registry, repository, and a tag, a digest or both. Only where functions are pods.",
        max_length=REFERENCE_LENGTH,
        pattern=REFERENCE,
        examples=["registry.example.org/team/thing:1"],
    ),
]
ImageWords = Annotated[list[Annotated[str, Meta(pattern=NO_NUL)]], Meta(max_length=WORDS)]
Folder = Annotated[str, Meta(max_length=DIRECTORY_LENGTH, pattern=r"^(/[^\x00]*)?\Z", examples=["/var/task"])]
Variables = Annotated[
    dict[Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*\Z")], Annotated[str, Meta(pattern=NO_NUL)]],
    Meta(description="At most 4096 bytes together, as JSON.", examples=[{"GREETING": "hello"}]),
]
AliasVersion = Annotated[str, Meta(pattern=VERSION, examples=["3"], description="`$LATEST`, or a version's number.")]
Routing = Annotated[
    dict[Annotated[str, Meta(pattern=NUMBER)], Annotated[float, Meta(ge=0, le=1)]],
    Meta(description="Another version and its share of the calls, 0 to 1.", max_length=1, examples=[{"4": 0.1}]),
]
Hash = Annotated[str, Meta(pattern=HASH, examples=["0123456789abcdef0123456789abcdef"])]
Timestamp = Annotated[str, Meta(examples=["2026-01-31T23:59:59.123Z"], extra_json_schema={"format": "date-time"})]
LayerName = Annotated[str, Meta(pattern=LAYER_NAME, examples=["shared"])]
LayerArns = Annotated[
    list[Annotated[str, Meta(pattern=LAYER_ARN)]],
    Meta(
        max_length=MAX_LAYERS,
        description="ARNs of layer versions, unpacked into `/opt` in this order, a later one over those before.",
        examples=[["arn:aws:lambda:us-east-1:123456789012:layer:shared:1"]],
    ),
]
LayerContent = Annotated[
    str,
    Meta(
        description="Base64 (standard alphabet, padded) of a zip.",
        min_length=4,
        examples=["UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="],
        # Checked by what decodes it, as a function's code.
        extra_json_schema={"contentEncoding": "base64", "pattern": r"^[A-Za-z0-9+/]+={0,2}\Z"},
    ),
]
LayerRuntimes = Annotated[list[RuntimeName], Meta(max_length=MAX_RUNTIMES, examples=[["python3.12"]])]
Architectures = Annotated[list[Literal["x86_64", "arm64"]], Meta(max_length=len(ARCHITECTURES))]
License = Annotated[str, Meta(max_length=LICENSE_LENGTH, pattern=DESCRIPTION, examples=["MIT"])]
MaximumRetryAttempts = Annotated[int, Meta(ge=RETRY_ATTEMPTS[0], le=RETRY_ATTEMPTS[1])]
MaximumEventAge = Annotated[int, Meta(ge=EVENT_AGE_S[0], le=EVENT_AGE_S[1])]
DestinationArn = Annotated[
    str,
    Meta(
        max_length=ARN_LENGTH,
        pattern=FUNCTION_ARN,
        examples=["arn:aws:lambda:us-east-1:123456789012:function:hello"],
    ),
]

_IN_A_HEADER = r"^[\x20-\x2b\x2d-\x7e]*\Z"
CorsOrigins = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=253, pattern=_IN_A_HEADER)]],
    Meta(max_length=100, description="`*`: every one.", examples=[["*"]]),
]
CorsMethods = Annotated[
    list[Annotated[str, Meta(max_length=6, pattern=_IN_A_HEADER)]], Meta(max_length=6, examples=[["GET", "POST"]])
]
CorsHeaders = Annotated[
    list[Annotated[str, Meta(max_length=1024, pattern=_IN_A_HEADER)]],
    Meta(max_length=100, examples=[["content-type"]]),
]
CorsMaxAge = Annotated[int, Meta(ge=0, le=86_400, description="Seconds.")]
RoleArn = Annotated[
    str,
    Meta(
        description="An IAM role. Code has its credentials where functions are pods and the installation gives them.",
        max_length=ROLE_LENGTH,
        pattern=ROLE,
        examples=["arn:aws:iam::123456789012:role/orders"],
    ),
]
InvokeMode = Literal["BUFFERED", "RESPONSE_STREAM"]
Provisioned = Annotated[int, Meta(ge=1, le=ACCOUNT_CONCURRENCY - UNRESERVED, examples=[4])]
