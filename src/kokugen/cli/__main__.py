"""`python -m kokugen.cli`: the command `kokugen`, where its script is not on the path."""

from __future__ import annotations

from kokugen.cli import main

if __name__ == "__main__":
    main()
