"""Says what this interpreter is: its version, where it really is, and what must be readable for it to run."""

import json
import os
import sys

if sys.implementation.name != "cpython":
    sys.exit("not a CPython")
described = {
    "executable": os.path.realpath(sys.executable),
    "version": f"{sys.version_info.major}.{sys.version_info.minor}",
    "readable": sorted({os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)}),
}
print(json.dumps(described))
