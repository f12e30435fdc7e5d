"""The invoker process: `--control-fd N` beside an embedded platform, `--pod` in a function pod."""

import os
import signal
import sys


def main() -> int:
    if sys.argv[1:] == ["--pod"]:
        # A pod's first process that ignores the signal would be waited for until the end of the grace period.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        # Before anything else is imported: the code is on its way while this process gets ready.
        from lateen_invoker import fetching

        child = fetching.start()
        from lateen_invoker import pod

        return pod.main(child)
    from lateen_invoker import embedded

    return embedded.main()


if __name__ == "__main__":
    sys.exit(main())
