"""The domain's values: what is accepted as a name, a handler, a variable and a time, and what opens a URL."""

from typing import Any

import pytest

from lateen.domain.environment import MAX_BYTES, RESERVED, check_environment
from lateen.domain.errors import InvalidInput
from lateen.domain.function_urls import FunctionUrl, Statement, UrlConfig, is_open, opened
from lateen.domain.functions import Code, Function, FunctionStatus, check_numbers, status_shown
from lateen.domain.keys import ApiKey, digest, is_secret_of, key_id_in, key_id_of_access_key, secret_text
from lateen.domain.master import MasterKey
from lateen.domain.names import (
    check_description,
    check_handler,
    check_name,
    is_account_id,
    is_hash,
    is_id,
    new_account_id,
    new_hash,
    new_id,
)
from lateen.domain.times import iso_ms, normalised


def a_function(**values: object) -> Function:
    given = {
        "id": "f",
        "workspace_id": "w",
        "account_id": "123456789012",
        "hash": "0" * 32,
        "name": "hello",
        "runtime": "python3.12",
        "handler": "code.handler",
        "code": Code(artifact_key="k", sha256="s", size=1),
        "created_at": "",
        "updated_at": "",
        "revision": 1,
    }
    return Function(**(given | values))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
def test_ordinary_names_are_accepted(name: str) -> None:
    """Letters, digits, dash and underscore, up to 64."""
    check_name(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a\n", "a/b", "..", "é", "a\0", "a#b"])
def test_names_that_could_be_anything_else_are_refused(name: str) -> None:
    """No paths, keys, newlines or letters that look like others."""
    with pytest.raises(InvalidInput):
        check_name(name)


@pytest.mark.parametrize(
    "handler",
    [
        "code.handler",
        "handler",
        "src/app.handler",
        "pkg.mod.fn",
        "a/b/c.d.e",
        "bootstrap",
        "x" * 128,
        "my-mod.h",
        "./dist/index.handler",
        "./index.handler",
        "/opt/nodejs/node_modules/datadog-lambda-js/handler.handler",
        "/opt/" + "x" * 123,
        "/var/task/src/app.handler",
        "node_modules/@team/some.js/index.handler",
        "com.example.Fn::handleRequest",
        "Assembly::Some.Space.Class::Method",
        "function.Functions::Handler.process",
        ".hidden/app.handler",
        "a/.b",
        ".",
        ".a",
        "a.",
        "a..b",
        "a//b",
        "a/",
        "a/-b",
        "././x.y",
        "./-c.x",
        "/opt//x.y",
        "/opt/-c.x",
        "a\\b.c",
        "..\\b.c",
        "$(x).y",
        "$LATEST.y",
        "a;b",
        "@a.b",
        "C:x",
        "::a",
        "{handler}",
        "{memory:90%}",
        "%s.y",
        "é.h",
        "módulo.größe",
        "処理.実行",
        "\U0001f600.h",
        "\u200c.h",
        "é" * 128,
    ],
)
def test_what_aws_takes_is_a_handler(handler: str) -> None:
    """Modules by dots, folders by slashes, bare program names, those of layers' wrappers and of other languages, and
    whatever else has a meaning for some runtime, or none."""
    check_handler(handler)


@pytest.mark.parametrize(
    "handler",
    [
        "",
        "..",
        "../etc.x",
        "/etc/passwd",
        "/",
        "a/../b",
        "a/..",
        "./../x.y",
        "a::/../b",
        "-m.x",
        "--",
        "a b",
        "a\n",
        "\na",
        "a::b\n",
        "a\tb",
        "a\x00.b",
        "a\x01.b",
        "a\x1b[31m.b",
        "a\x7f.b",
        "a\x85.b",
        "a\x9b.b",
        "a\xa0b",
        "a\u2028b",
        "a\u3000b",
        "a\u202eb",
        "a\u2066b",
        "\ufeffa.b",
        "a\ud800.b",
        "x" * 129,
        "/opt",
        "/opt/../etc/x.y",
        "/optional/x.y",
        "/var/x.y",
        "/var/task/../../etc/x.y",
        "/var/task",
        "/opt/" + "x" * 124,
        "//opt/x.y",
    ],
)
def test_handlers_that_are_paths_or_options_are_refused(handler: str) -> None:
    """Nothing climbs, is absolute or an option, or looks in a log like something else."""
    with pytest.raises(InvalidInput) as refused:
        check_handler(handler)
    assert refused.value.field == "handler"
    assert "no '..' as a folder" in str(refused.value)


def test_new_ids_have_the_shape_that_is_checked() -> None:
    """What is made passes the check, and twice is never the same."""
    assert is_id(new_id())
    assert is_hash(new_hash())
    assert is_account_id(new_account_id())
    assert len({new_id() for _ in range(100)} | {new_hash() for _ in range(100)}) == 200


@pytest.mark.parametrize("text", ["", "A", "a b", "a\n", "../x", "x" * 41, "FN#1"])
def test_ids_that_are_keys_or_paths_are_no_ids(text: str) -> None:
    """They are not even looked up."""
    assert not is_id(text)


@pytest.mark.parametrize("text", ["x" * 257, "a\0b", "\x1b[31m", "\x9b31m", "a\r", "\ud800"])
def test_descriptions_hold_printable_text(text: str) -> None:
    """Escape codes would reach a person's terminal."""
    with pytest.raises(InvalidInput):
        check_description(text)


def test_descriptions_may_have_lines() -> None:
    """Newlines and any script are fine."""
    check_description("läuft\n\tgut\u00a0関数\u3000👩\u200d🚀")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_variables_of_the_platform_are_refused(name: str) -> None:
    """As on AWS."""
    with pytest.raises(InvalidInput) as refused:
        check_environment({name: "x"})
    assert refused.value.field == f"environment.{name}"


def test_credentials_are_the_user_s_to_give() -> None:
    """On AWS the execution role gives them, and they are reserved; here no role gives any by variables."""
    check_environment(dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "x"))


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "_X", "A\n", "Ä", "A=B", "A\0"])
def test_variable_names_are_identifiers(name: str) -> None:
    """A letter, then letters, digits and underscores."""
    with pytest.raises(InvalidInput) as refused:
        check_environment({name: "secret-value"})
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_variable_values_fit_into_an_environment(value: str) -> None:
    """No NUL, no half characters."""
    with pytest.raises(InvalidInput):
        check_environment({"A": value})


def test_the_environment_has_4_kb() -> None:
    """Measured as compact JSON in UTF-8, the last byte included."""
    room = MAX_BYTES - len('{"A":""}')
    check_environment({"A": "x" * room})
    check_environment({"A": "é" * (room // 2)})
    for value in ("x" * (room + 1), "é" * (room // 2 + 1)):
        with pytest.raises(InvalidInput):
            check_environment({"A": value})


@pytest.mark.parametrize(
    ("field", "name", "values"),
    [
        ("timeout", "timeout_s", (0, 901)),
        ("memory", "memory_mib", (127, 10_241)),
        ("concurrency", "concurrency", (0, 101)),
        ("replicas", "replicas", (0, 101)),
    ],
)
def test_numbers_have_limits(field: str, name: str, values: tuple[int, int]) -> None:
    """The refusal names the field as users know it."""
    check_numbers(a_function())
    for value in values:
        with pytest.raises(InvalidInput) as refused:
            check_numbers(a_function(**{name: value}))
        assert refused.value.field == field


def test_a_report_about_an_earlier_revision_is_not_shown() -> None:
    """Until the current revision has been reported on, it is pending."""
    active = FunctionStatus(state="Active", revision=1)
    assert status_shown(a_function(revision=1), active) == active
    assert status_shown(a_function(revision=2), active).state == "Pending"
    assert status_shown(a_function(revision=1), None).state == "Pending"


def test_times_have_one_form() -> None:
    """Fixed width, UTC, milliseconds cut and not rounded."""
    assert iso_ms(1_800_000_000.9999) == "2027-01-15T08:00:00.999Z"
    assert normalised("2027-01-15T10:00:00+02:00") == "2027-01-15T08:00:00.000Z"
    assert normalised("2027-01-15T08:00:00Z") == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2027-01-15", "2027-01-15T08:00:00", "0001-01-01T00:00:00+23:00", "９" * 9]
)
def test_what_is_no_moment_is_no_time(text: str) -> None:
    """Without an offset it could be any of many moments."""
    with pytest.raises(ValueError):  # noqa: PT011
        normalised(text)


def test_a_secret_carries_its_key_id() -> None:
    """And only a whole, exact secret does."""
    key_id = new_id()
    secret = secret_text(key_id, bytes(24))
    key = ApiKey(id=key_id, workspace_id=None, secret_sha256=digest(secret), created_at="")
    assert key_id_in(secret) == key_id
    assert is_secret_of(key, secret)
    assert not is_secret_of(key, secret + " ")
    for wrong in ("", secret + "\n", secret[:-1], secret.upper(), "ltn__", "\ud800"):
        assert key_id_in(wrong) is None
        assert not is_secret_of(key, wrong)


def test_access_key_ids_look_like_those_of_aws() -> None:
    """20 upper-case characters that lead back to the key."""
    key = ApiKey(id=new_id(), workspace_id=None, secret_sha256="", created_at="")
    assert len(key.access_key_id) == 20
    assert key.access_key_id.startswith("LTN")
    assert key.access_key_id.isalnum()
    assert key_id_of_access_key(key.access_key_id) == key.id
    assert key_id_of_access_key("AKIAIOSFODNN7EXAMPLE") is None


def test_derived_secrets_are_apart() -> None:
    """Another purpose, part or boundary between parts: another secret."""
    master = MasterKey(b"k" * 32)
    assert len(master.aws_secret("a")) == 40
    made = [master.derive("a", "bc"), master.derive("ab", "c"), master.derive("a", "b", "c"), master.derive("abc")]
    made += [master.invoke_key("a", "b"), master.invoke_key("b", "a"), MasterKey(b"l" * 32).derive("abc")]
    assert len(set(made)) == len(made)
    assert all(len(secret) == 32 for secret in made)
    with pytest.raises(ValueError, match="32 bytes"):
        MasterKey(b"short")


(OPENING,) = opened((), "arn:aws:lambda:us-east-1:123456789012:function:f")
NONE = {"lambda:FunctionUrlAuthType": "NONE"}


def url_is_open(*policy: Statement, auth_type: Any = "NONE") -> bool:
    return is_open(UrlConfig(created_at="", updated_at="", url=FunctionUrl(auth_type=auth_type)), policy)


def test_a_url_is_open_by_its_type_and_a_statement() -> None:
    """Neither is enough."""
    assert url_is_open(OPENING)
    assert url_is_open({**OPENING, "Action": "lambda:*", "Condition": {}})
    assert not url_is_open()
    assert not url_is_open(OPENING, auth_type="AWS_IAM")


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "Deny"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Principal": {"Service": "s3.amazonaws.com"}},
        {"Action": "lambda:InvokeFunction"},
        {"Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}},
        {"Condition": {"StringEquals": {**NONE, "aws:PrincipalOrgID": "o-1"}}},
        {"Condition": {"StringEquals": NONE, "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"}}},
    ],
)
def test_what_lets_some_in_opens_no_url(change: Statement) -> None:
    """A statement for one account, one other action or under a further condition is nobody's leave to call it."""
    assert not url_is_open({**OPENING, **change})
    assert url_is_open({**OPENING, **change}, OPENING)
