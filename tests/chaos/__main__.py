"""`python3 dev.py chaos`: real faults on real processes, and a judgement of each kind of them.

Prints how it goes, a table in the end, and with --json one line of JSON for each row. Ends with 1 where a promise was
broken. The figures are those before a release; --ci takes those of every change.
"""

from __future__ import annotations

import signal
import sys


def main() -> int:
    from tests.chaos.command import run

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that its processes end with it
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
