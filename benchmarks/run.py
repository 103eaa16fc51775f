"""Run the benchmarks: `python3 dev.py bench` runs this in the environment that has the peers too."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project, in place of this folder
    from benchmarks.runner import main

    sys.exit(main(sys.argv[1:]))
