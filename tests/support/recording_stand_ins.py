"""Stand-ins for command line programs: they write down how they were called, and answer as they are told to."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import NamedTuple

_PROGRAM = """#!{python}
import json, os, sys, time
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
given = sys.stdin.read() if "-" in arguments else ""
with open({calls!r}, "a") as calls:
    print(json.dumps([name, arguments, given]), file=calls)
line = " ".join([name, *arguments])
for prefix, answer in json.load(open({answers!r})):
    if line.startswith(prefix):
        print(answer["prints"], end="", flush=True)
        if answer["stays"]:
            time.sleep(60)
        sys.exit(answer["code"])
"""


class Call(NamedTuple):
    program: str
    arguments: list[str]
    stdin: str

    @property
    def line(self) -> str:
        return " ".join([self.program, *self.arguments])


class StandIns:
    """Programs in a folder that comes first on PATH. What no answer was given for prints nothing and succeeds."""

    def __init__(self, folder: Path, programs: tuple[str, ...]) -> None:
        self.folder = folder / "bin"
        self._calls = folder / "calls"
        self._answers = folder / "answers"
        self._given: list[tuple[str, dict[str, object]]] = []
        self.folder.mkdir()
        self._write()
        for program in programs:
            path = self.folder / program
            text = _PROGRAM.format(python=sys.executable, calls=str(self._calls), answers=str(self._answers))
            path.write_text(text)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def answer(self, prefix: str, prints: str = "", *, code: int = 0, stays: bool = False) -> None:
        """For calls whose words begin with `prefix`; the first that fits counts. `stays`: until it is killed."""
        self._given.append((prefix, {"prints": prints, "code": code, "stays": stays}))
        self._write()

    @property
    def calls(self) -> list[Call]:
        if not self._calls.exists():
            return []
        return [Call(*json.loads(line)) for line in self._calls.read_text().splitlines()]

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def _write(self) -> None:
        self._answers.write_text(json.dumps(self._given))
