"""Pickles that do something when they are loaded, as attackers write them: each makes the file it is given."""

from __future__ import annotations

import builtins
import functools
import operator
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Calling:
    """Pickles as a call."""

    def __init__(self, call: Callable[..., Any], *args: Any, state: Any = None) -> None:
        self._made = (call, args) if state is None else (call, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._made


class Stateful:
    """Runs a command when its state is set."""

    def __setstate__(self, state: str) -> None:
        Path(state).touch()


def touching(path: Path) -> str:
    return f"import pathlib; pathlib.Path({str(path)!r}).touch()"


def payloads(path: Path) -> dict[str, bytes]:
    """Return pickles by what they use; loading any of them makes the file."""
    command, code = f"touch {path}", touching(path)
    whole: dict[str, Any] = {
        "os.system": Calling(os.system, command),
        "subprocess": Calling(subprocess.check_call, ["touch", str(path)]),
        "exec": Calling(builtins.exec, code),
        "eval": Calling(builtins.eval, f"__import__('os').system({command!r})"),
        "a method": Calling(Path.touch, path),
        "partial": Calling(operator.call, functools.partial(os.system, command)),
        "map": Calling(list, Calling(map, os.system, [command])),
        "a state": Calling(Stateful, state=str(path)),
        "a made function": Calling(operator.call, Calling(getattr, Calling(__import__, "os"), "system"), command),
        "methodcaller": Calling(operator.call, operator.methodcaller("touch"), path),
    }
    pickles = {name: pickle.dumps(value) for name, value in whole.items()}
    pickles |= {f"{name}, nested": pickle.dumps(job_with(value)) for name, value in whole.items()}
    pickles["oldest"] = pickle.dumps(whole["os.system"], 0)
    text = command.encode()
    pickles["by hand, global"] = b"cposix\nsystem\n(S'" + text + b"'\ntR."
    pickles["by hand, inst"] = b"(S'" + text + b"'\niposix\nsystem\n."
    pickles["by hand, obj"] = b"(cposix\nsystem\nS'" + text + b"'\no."
    pickles["after the end of another"] = b"cposix\nsystem\n(S'" + text + b"'\ntR0" + pickle.dumps({}, 0)
    return pickles


def job_with(value: Any) -> dict[str, Any]:
    """Return the state of a job that has this among its arguments."""
    return {"version": 1, "id": "x", "func": "shop:send", "args": (value,), "kwargs": {"when": value}, "trigger": value}
