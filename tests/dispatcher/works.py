"""Work that the processes of these tests import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.params import param_work
from kokugen.run import Signal, current_run

works = FunctionRegistry()


@works.work
def declared(number: int) -> int:
    return number + 1


class Local(Exception):
    """An error that only these processes know."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code


def fail_locally() -> None:
    raise Local(7, "it rains")


def pid() -> int:
    return os.getpid()


def open_channels(cancelled: Signal, stopping: Signal, scheduled: object, param: str | None = None) -> str:
    return f"{bool(cancelled)} {bool(stopping)} {param} {current_run().work_id}"


channels = param_work(open_channels)


def hoard(size: int) -> int:
    return len(bytearray(size))


def leave_family(folder: str) -> None:
    """Start a program that outlives this work, and go on for ever."""
    program = "import pathlib, time, os, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program, str(Path(folder, "family"))])
    child.wait()
