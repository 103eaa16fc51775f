"""The command `kokugen`: `main` runs it."""

from __future__ import annotations

from kokugen.cli.commands import main

__all__ = ["main"]
