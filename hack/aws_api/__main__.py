"""Writes `platform/src/lateen/aws/lambda-2015-03-31.json`: what Lambda's operations are called, where they are, and
what their requests may hold, out of botocore's model of the service. A table of its own, because the api would pay
27 MB of memory for the model, most of it documentation.

`python hack/aws_api` writes the file; with `--check` it says whether that would change it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

FILE = Path(__file__).parents[2] / "platform/src/lateen/aws/lambda-2015-03-31.json"
_SHAPE = ("type", "required", "min", "max", "pattern", "enum", "payload")
_MEMBER = ("shape", "location", "locationName")


def table() -> str:
    model = Loader().load_service_model("lambda", "service-2", "2015-03-31")
    shapes: dict[str, Any] = {}
    operations = {}
    for name, operation in sorted(model["operations"].items()):
        http = operation["http"]
        shape = operation.get("input", {}).get("shape")
        operations[name] = {"method": http["method"], "uri": http["requestUri"], "status": http["responseCode"]}
        if shape is not None:
            operations[name]["input"] = shape
            _collect(model["shapes"], shape, shapes)
    whole = {"operations": operations, "shapes": dict(sorted(shapes.items()))}
    return json.dumps(whole, indent=1) + "\n"


def _collect(all_shapes: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    if name in found:
        return
    given = all_shapes[name]
    kept = found[name] = {key: given[key] for key in _SHAPE if key in given}
    references = []
    if "members" in given:
        kept["members"] = {
            member: {key: reference[key] for key in _MEMBER if key in reference}
            for member, reference in given["members"].items()
        }
        references += [reference["shape"] for reference in given["members"].values()]
    for part in ("member", "key", "value"):
        if part in given:
            kept[part] = given[part]["shape"]
            references.append(given[part]["shape"])
    for reference in references:
        _collect(all_shapes, reference, found)


def main() -> int:
    text = table()
    if "--check" in sys.argv:
        return 0 if FILE.read_text() == text else 1
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
