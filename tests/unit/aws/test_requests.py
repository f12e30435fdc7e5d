"""From the wire to an operation: addresses, constraints, names. And what is generated is up to date."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import given, settings
from hypothesis import strategies as st

from lateen.aws.assembled import OPERATIONS
from lateen.aws.calls import offers
from lateen.aws.errors import AwsError
from lateen.aws.model import lambda_model
from lateen.aws.parameters import parameters_of
from lateen.aws.references import Place, reference_from
from lateen.aws.routing import Router, is_dated
from lateen.aws.validation import check

MODEL = lambda_model()
ROUTER = Router(MODEL)
HERE = Place("us-east-1", "123456789012")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_what_is_generated_is_up_to_date() -> None:
    """The table of requests and the page's table of operations. Else: `hack/update-aws-api`."""
    assert subprocess.run([Path(__file__).parents[3] / "hack" / "verify-aws-api"], check=False).returncode == 0


def test_each_offer_is_an_operation() -> None:
    """A name that AWS doesn't have would never be called."""
    assert set(offers(*OPERATIONS)) <= set(MODEL.operations)


@pytest.mark.parametrize("name", sorted(MODEL.operations))
def test_every_address_leads_to_its_operation(name: str) -> None:
    """With labels that are encoded, and a slash at the end or not."""
    operation = MODEL.operations[name]
    path, _, query = operation.uri.partition("?")
    labels = {}
    for segment in path.split("/"):
        if segment.startswith("{"):
            labels[segment.strip("{}+")] = ARN
            path = path.replace(segment, ARN.replace(":", "%3A"))
    for spelled in (path, f"{path}/"):
        routed = ROUTER.find(operation.method, spelled.encode(), query.encode())
        assert routed is not None
        assert (routed.operation, routed.labels) == (name, labels)
    assert is_dated(path.encode())


@pytest.mark.parametrize("path", [b"/", b"/api/functions", b"/2015-03-31", b"/20150331/functions/", b"/x/2015-03-31/f"])
def test_other_paths_are_not_of_this_api(path: bytes) -> None:
    assert not is_dated(path)
    assert ROUTER.find("GET", path, b"") is None


@pytest.mark.parametrize(
    ("text", "qualifier", "found"),
    [
        ("f", None, ("f", None)),
        ("f:live", None, ("f", "live")),
        ("f", "$LATEST", ("f", "$LATEST")),
        (ARN, None, ("f", None)),
        (f"{ARN}:7", "7", ("f", "7")),
        ("123456789012:function:f:$LATEST", None, ("f", "$LATEST")),
        ("function:f", None, ("f", None)),
        ("us-east-1:123456789012:function:f", None, ("f", None)),
    ],
)
def test_names_and_arns(text: str, qualifier: str | None, found: tuple[str, str | None]) -> None:
    reference = reference_from(text, HERE, qualifier=qualifier, operation="GetFunction")
    assert (reference.name, reference.qualifier) == found
    assert reference.unqualified_arn == ARN


@pytest.mark.parametrize(
    ("text", "qualifier", "code"),
    [
        (f"{ARN}:1", "2", "InvalidParameterValueException"),
        (ARN.replace("123456789012", "999999999999"), None, "AccessDeniedException"),
        (ARN.replace("us-east-1", "eu-west-1"), None, "ResourceNotFoundException"),
        ("arn:aws:lambda:f", None, "ValidationException"),
        ("a:b:c:d", None, "ValidationException"),
        ("f\n", None, "ValidationException"),
    ],
)
def test_names_that_lead_nowhere(text: str, qualifier: str | None, code: str) -> None:
    with pytest.raises(AwsError) as refused:
        reference_from(text, HERE, qualifier=qualifier, operation="GetFunction")
    assert refused.value.code == code


@settings(max_examples=200, deadline=None)
@given(
    shape=st.sampled_from(sorted({operation.input for operation in MODEL.operations.values() if operation.input})),
    data=st.data(),
)
def test_no_request_is_more_than_refused(shape: str, data: st.DataObject) -> None:
    """Whatever JSON a member holds, it is accepted or refused in one of two ways."""
    members = sorted(MODEL.shapes[shape].members)
    given_members: dict[str, Any] = data.draw(st.dictionaries(st.sampled_from(members or ["x"]), JSON, max_size=4))
    refused = refusal_of(shape, given_members)
    assert refused is None or refused.code in ("ValidationException", "SerializationException")
    assert refused is None or refused.body()


@pytest.mark.parametrize(
    ("shape", "members", "place"),
    [
        ("UntagResourceRequest", {"Resource": ARN, "TagKeys": [None]}, "'tagKeys'"),
        ("UpdateFunctionConfigurationRequest", {"FunctionName": "f", "Layers": [None]}, "'layers'"),
        (
            "UpdateFunctionConfigurationRequest",
            {"FunctionName": "f", "FileSystemConfigs": [None]},
            "'fileSystemConfigs.1.member'",
        ),
    ],
)
def test_nothing_is_no_member(shape: str, members: dict[str, Any], place: str) -> None:
    refused = refusal_of(shape, members)
    assert refused is not None
    assert refused.code == "ValidationException"
    assert place in str(refused)
    assert "Member must not be null" in str(refused)


def refusal_of(shape: str, members: dict[str, Any]) -> AwsError | None:
    try:
        check(MODEL, shape, members)
    except AwsError as exc:
        return exc
    return None


def test_a_small_request_gets_no_large_refusal() -> None:
    """Each of very many parts may be wrong, and each that is told costs fifty times what it took to send."""
    given = {
        "FunctionName": "f",
        "Role": "arn:aws:iam::123456789012:role/r",
        "Code": {},
        "FileSystemConfigs": [{}] * 9999,
    }
    with pytest.raises(AwsError) as refused:
        check(MODEL, "CreateFunctionRequest", given)
    assert refused.value.code == "ValidationException"
    assert len(refused.value.body()) < 32 * 1024


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 10**30])
def test_numbers_are_no_larger_than_javas(number: int) -> None:
    """No store keeps more."""
    with pytest.raises(AwsError) as refused:
        check(MODEL, "PutFunctionConcurrencyRequest", {"FunctionName": "f", "ReservedConcurrentExecutions": number})
    assert refused.value.code == "SerializationException"


@pytest.mark.parametrize("part", [b"{}", b"1", b'"a"', b"[]"])
def test_a_large_body_has_few_parts(part: bytes) -> None:
    """What is large in a request is code, which is one text: millions of parts are memory that nobody has."""
    operation = MODEL.operations["CreateFunction"]
    routed = ROUTER.find(operation.method, operation.uri.encode(), b"")
    assert routed is not None
    body = b'{"FileSystemConfigs": [%b]}' % b",".join([part] * 600_000)
    with pytest.raises(AwsError) as refused:
        parameters_of(MODEL, operation, routed, [], body)
    assert refused.value.code == "SerializationException"
    code = b'{"FunctionName": "f", "Code": {"ZipFile": "%b"}}' % (b"A" * 4_000_000)
    assert len(parameters_of(MODEL, operation, routed, [], code)["Code"]["ZipFile"]) == 4_000_000


def test_texts_of_several_kinds() -> None:
    """Lists and maps print as Java prints them."""
    asked = {
        "FunctionName": "f",
        "Name": "1",
        "FunctionVersion": "2",
        "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}},
    }
    with pytest.raises(AwsError) as refused:
        check(MODEL, "CreateAliasRequest", asked)
    text = str(refused.value)
    assert text.startswith("2 validation errors detected: Value '1' at 'name' failed to satisfy constraint: ")
    assert "; Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: " in text


def test_the_model_is_the_locked_botocores() -> None:
    """So that a new operation is seen when botocore is updated."""
    model = Loader().load_service_model("lambda", "service-2", "2015-03-31")
    assert set(model["operations"]) == set(MODEL.operations)
