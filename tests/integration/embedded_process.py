"""An embedded platform as a process of its own, for tests that kill it: says its URLs, then serves until it ends."""

import asyncio
import json
import runpy
import sys
from pathlib import Path

parts = runpy.run_path(str(Path(__file__).with_name("conftest.py")))


async def main(folder: str) -> None:
    async with parts["run_embedded"](
        Path(folder), parts["LocalSettings"](sandbox=sys.argv[2] == "sandbox")
    ) as embedded:
        functions = [
            await embedded.create("import time\ndef handler(e, c):\n    time.sleep(30)\n", name=f"f{n}", timeout_s=60)
            for n in range(2)
        ]
        for function in functions:
            await embedded.settled(function)
        print(json.dumps([embedded.url_of(function) for function in functions]), flush=True)
        await asyncio.sleep(3600)


asyncio.run(main(sys.argv[1]))
