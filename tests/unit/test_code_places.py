"""Which objects a workspace's list opens, and which it never does."""

import pytest

from lateen.domain.code_places import CodePlace, check_code_place, check_listed, is_listed
from lateen.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("entry", "key", "is_open"),
    [
        ("packages", "app.zip", True),
        ("packages", "deep/er/app.zip", True),
        ("packages", "/app.zip", True),
        ("other", "app.zip", False),
        ("package", "app.zip", False),
        ("packagess", "app.zip", False),
        ("Packages", "app.zip", False),
        ("packages/team-a", "team-a/app.zip", True),
        ("packages/team-a/", "team-a/app.zip", True),
        ("packages/team-a", "team-a", True),
        ("packages/team-a", "team-ab/app.zip", False),
        ("packages/team-a", "team-", False),
        ("packages/team-a", "/team-a/app.zip", False),
        ("packages/team-a", "Team-a/app.zip", False),
        ("packages/team-a", "other/team-a/app.zip", False),
        ("packages/team-a/live", "team-a/app.zip", False),
        ("packages/team-a/live", "team-a/live/app.zip", True),
        ("packages/one.zip", "one.zip", True),
        ("packages/one.zip", "one.zip.old", False),
    ],
)
def test_what_a_list_opens(entry: str, key: str, is_open: bool) -> None:
    """A bucket, a folder and what lies below it, or one object; a longer name is another one."""
    place = CodePlace(bucket="packages", key=key)
    assert is_listed(place, [entry]) is is_open
    assert is_listed(place, ["nothing", entry]) is is_open
    assert not is_listed(place, [])


@pytest.mark.parametrize(
    "key",
    ["..", "../x", "team-a/../x", "team-a/..", "./x", "a/./x", "a\\..\\x", "team-a\\../x", "", "a\nb", "a\0b", "\x7f",
     "\ud800", "a\u2028b", "x" * 1025],
)  # fmt: skip
def test_keys_that_may_lead_elsewhere(key: str) -> None:
    """Servers keep objects in folders, and clients tidy paths up: `..` is refused before that, in versions too."""
    for place in (CodePlace(bucket="packages", key=key), CodePlace(bucket="packages", key="x", version=key)):
        with pytest.raises(InvalidInput) as refused:
            check_code_place(place, "code_s3")
        assert refused.value.field == "code_s3"


@pytest.mark.parametrize(
    "bucket", ["", "ab", "..", "...", "a..b", "a/b", "packages/", "-ab", "ab.", "a b", "x" * 64, "abc\n"]
)
def test_names_that_are_no_buckets(bucket: str) -> None:
    with pytest.raises(InvalidInput):
        check_code_place(CodePlace(bucket=bucket, key="x"), "code_s3")
    with pytest.raises(InvalidInput):
        check_listed([bucket], "code_buckets")


def test_places_as_people_have_them() -> None:
    """Dots in names, several of them, spaces, letters of anywhere; versions as AWS gives them."""
    for key in ("app.zip", "a b/ü…/app 1.2..3.zip", "...", "a//b", "100%/x?y#z+&"):
        check_code_place(CodePlace(bucket="my.packages_1", key=key, version="3/L4kqtJlcpXroDTDmJ+rm.Q=="), "code_s3")


@pytest.mark.parametrize(
    "entry", ["packages/", "packages//", "packages//a", "packages/a//b", "packages/..", "packages/a/../b",
              "packages/a\n", "packages/./a", "packages/a\\b", "packages/a/..", "s3://packages",
              "arn:aws:s3:::packages", "*"]
)  # fmt: skip
def test_entries_that_are_refused(entry: str) -> None:
    """An empty folder may be a variable that was not set: it is not taken for all of the bucket."""
    with pytest.raises(InvalidInput):
        check_listed([entry], "code_buckets")


def test_a_list_is_bounded() -> None:
    check_listed([f"packages/{number}" for number in range(100)], "code_buckets")
    with pytest.raises(InvalidInput, match="at most 100"):
        check_listed([f"packages/{number}" for number in range(101)], "code_buckets")
