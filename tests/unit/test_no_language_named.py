"""A language is a folder under runtimes/: no line of the platform's or the invoker's code names one."""

import ast
import re
from collections.abc import Iterator

import pytest
from runtimes_here import FOLDER

from lateen.domain.runtimes import Runtime
from lateen.services.runtimes import Runtimes

ROOT = FOLDER.parent
SOURCES = sorted([*ROOT.glob("platform/src/**/*.py"), *ROOT.glob("invoker/src/**/*.py")])
ORDINARY = {"node", "provided"}
"""Words that mean something else as well, which count only where they are all of a text."""
ALLOWED = {
    # What documents show as an example.
    ("platform/src/lateen/api/examples.py", "*"),
    ("platform/src/lateen/api/console.py", "Only of this runtime, such as `python`."),
    ("platform/src/lateen/api/fields.py", "python3.12"),
    ("platform/src/lateen/api/views/console.py", "python"),
    ("platform/src/lateen/api/views/console.py", "python3.12"),
    ("platform/src/lateen/cli/configuration.py", "Such as python3.12."),
    ("platform/src/lateen/domain/layers.py", "names such as python3.12"),
    # The program that runs the invoker in its own image.
    ("platform/src/lateen/adapters/kubernetes/pod_manifests.py", "python"),
    ("platform/src/lateen/adapters/kubernetes/build_manifests.py", "python"),
    # `helm test` brings its own code, and says in the chart's values which runtime that is for.
    ("platform/src/lateen/cluster/smoke.py", "python3.12"),
}


def words() -> set[str]:
    """Names, aliases and the first halves of pairs."""
    runtimes: list[Runtime] = Runtimes(FOLDER, table=None).list()  # type: ignore[arg-type]
    return {word for each in runtimes for word in (each.name, each.runtime, *each.aliases)}


def texts(source: str) -> Iterator[str]:
    """Each text in the code, docstrings left out."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    told = set()
    for node in ast.walk(tree):
        if isinstance(node, documented):
            for statement in node.body:  # the text below an attribute is its docstring
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    told.add(id(statement.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def named_in(source: str, names: set[str]) -> set[str]:
    clear = sorted(names - ORDINARY, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, clear))})(?![\w-])")
    return {text for text in texts(source) if text in names or pattern.search(text)}


def test_the_code_names_no_language() -> None:
    """What is allowed is listed above with its reason, and is still there."""
    names = words()
    assert {"python3.12", "python", "node20", "nodejs20.x", "golang1.22", "provided.al2023"} <= names
    found = {
        (str(path.relative_to(ROOT)), text) for path in SOURCES for text in named_in(path.read_text("utf-8"), names)
    }
    whole = {path for path, text in ALLOWED if text == "*"}
    assert {each for each in found if each[0] not in whole and each not in ALLOWED} == set()
    assert {each for each in ALLOWED if each[1] != "*"} <= found


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('"""python3.12"""\nx = 1', False),
        ('class A:\n    x: str\n    """`python3.12`."""', False),
        ('if name == "python3.12": pass', True),
        ('if name.startswith("nodejs20.x"): pass', True),
        ('x = f"{folder}/golang1.22/bin"', True),
        ('x = "my-python"', False),
        ("x = 1  # python3.12", False),
        ('if runtime == "node": pass', True),
        ('x = "a pod on its node"', False),
    ],
)
def test_what_counts(code: str, seen: bool) -> None:
    """Texts that the program works with; not what is said about it."""
    assert bool(named_in(code, words())) is seen
