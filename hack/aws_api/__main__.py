"""What is made of botocore's model of Lambda, and of the operations that we offer:

- `platform/src/lateen/aws/lambda-2015-03-31.json`: what operations are called, where they are, and what their requests
  may hold. A table of its own, because the api would pay 27 MB of memory for the model, most of it documentation.
- the table in `docs/lambda-api.md`: each operation, and what is missing in it.

`hack/update-aws-api` writes both; with `--check` it says whether that would change anything.
"""

import json
import sys
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

from lateen.aws.assembled import OPERATIONS
from lateen.aws.calls import offers

CHECKOUT = Path(__file__).parents[2]
TABLE = CHECKOUT / "platform/src/lateen/aws/lambda-2015-03-31.json"
PAGE = CHECKOUT / "docs/lambda-api.md"
BEGIN, END = "<!-- operations: made by hack/update-aws-api -->", "<!-- end of operations -->"
_SHAPE = ("type", "required", "min", "max", "pattern", "enum", "payload")
_MEMBER = ("shape", "location", "locationName")


def main() -> int:
    model = Loader().load_service_model("lambda", "service-2", "2015-03-31")
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    wanted = {TABLE: table_of(model), PAGE: f"{before}{BEGIN}\n{operations_of(model)}{END}{after}"}
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        return 1 if changed else 0
    for path in changed:
        path.write_text(wanted[path])
    return 0


def table_of(model: Any) -> str:
    shapes: dict[str, Any] = {}
    operations = {}
    for name, operation in sorted(model["operations"].items()):
        http = operation["http"]
        shape = operation.get("input", {}).get("shape")
        operations[name] = {"method": http["method"], "uri": http["requestUri"], "status": http["responseCode"]}
        if shape is not None:
            operations[name]["input"] = shape
            _collect(model["shapes"], shape, shapes)
    return json.dumps({"operations": operations, "shapes": dict(sorted(shapes.items()))}, indent=1) + "\n"


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


def operations_of(model: Any) -> str:
    offered = offers(*OPERATIONS)
    rows = ["| operation | status | what is missing |", "| --- | --- | --- |"]
    for name in sorted(model["operations"]):
        offer = offered.get(name)
        status = "refused" if offer is None else "partial" if offer.missing else "full"
        rows.append(f"| {name} | {status} | {offer.missing if offer else ''} |")
    count = len(offered), sum(1 for offer in offered.values() if not offer.missing)
    summary = f"{count[0]} of {len(model['operations'])} operations are offered, {count[1]} of them in full.\n\n"
    return summary + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
