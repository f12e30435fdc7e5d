"""Templates are input: read as texts, never evaluated, and bounded."""

import pytest

from lateen.cli.refusals import Refused
from lateen.cli.sam.reading import MAX_BYTES, Wrong, read_template, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 012", {"a": "012"}),
        ("a: 2010-09-09", {"a": "2010-09-09"}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: 1.10", {"a": "1.10"}),
        ("a: on", {"a": "on"}),
        ("a: True", {"a": "true"}),
        ("a: 'True'", {"a": "True"}),
        ("a:", {"a": None}),
        ("a: ''", {"a": ""}),
        ("a: !Ref B", {"a": {"Ref": "B"}}),
        ("a: !Condition B", {"a": {"Condition": "B"}}),
        ("a: !GetAtt B.C.D", {"a": {"Fn::GetAtt": ["B", "C.D"]}}),
        ("a: !GetAtt [B, C]", {"a": {"Fn::GetAtt": ["B", "C"]}}),
        ("a: !Join ['-', [b, !Sub '${C}']]", {"a": {"Fn::Join": ["-", ["b", {"Fn::Sub": "${C}"}]]}}),
        (
            "a: !If\n  - B\n  - {c: d}\n  - !Ref AWS::NoValue",
            {"a": {"Fn::If": ["B", {"c": "d"}, {"Ref": "AWS::NoValue"}]}},
        ),
        ('{"a": {"Fn::Sub": "${B}"}, "n": 256, "t": true}', {"a": {"Fn::Sub": "${B}"}, "n": "256", "t": "true"}),
        ("a: &x {b: c}\nd: *x", {"a": {"b": "c"}, "d": {"b": "c"}}),
        ("a: &x {b: c, e: f}\nd:\n  <<: *x\n  b: own", {"a": {"b": "c", "e": "f"}, "d": {"b": "own", "e": "f"}}),
    ],
)
def test_what_a_text_stands_for(text: str, value: object) -> None:
    """As it was written, with CloudFormation's short tags spelt out."""
    assert value_of(text) == value


def doubled(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "a: !!python/object/apply:os.system ['true']",
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("a: !!binary aGk=", "none of CloudFormation's"),
        ("a: !<tag:example.org,2026:x> b", "none of CloudFormation's"),
        ("a: b\na: c", "line 2: 'a' a second time"),
        ("[a, b]: c", "line 1: a key that is no text"),
        ("a: &x [*x]", "stands for nothing before it"),
        ("a: *x", "stands for nothing before it"),
        ("<<: text", "<< of what is no mapping"),
        ("a: b\n---\nc: d", "a second document"),
        ("a: [b", "line "),
        ("", "it is empty"),
        ("a: \x07", "characters that YAML does not allow"),
        ("[" * 70 + "]" * 70, "more than 60 levels"),
        (doubled(9), "aliases that stand for too much"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    """With the line, and before it costs much."""
    with pytest.raises(Wrong) as refused:
        value_of(text)
    assert why in str(refused.value)


def test_files_that_are_none(tmp_path) -> None:  # type: ignore[no-untyped-def]
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_bytes(b"a" * (MAX_BYTES + 1))
    binary.write_bytes(b"\xff\xfe\xfa")
    for path, why in ((large, "more than"), (binary, "not UTF-8"), (tmp_path / "none.yaml", "can't be read")):
        with pytest.raises(Refused, match=why):
            read_template(path)
