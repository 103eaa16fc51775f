"""One program run to its end: no shell, a scrubbed environment, its output capped, its whole family killed in time.

`kokugen.registry.commands` calls it with an argument list that was checked. It calls `kokugen.registry.guarded`, under
which nothing of the program outlives this process either; Windows has no such guard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from threading import Event, Thread
from typing import IO, Protocol

from msgspec import Struct

from kokugen.registry.account import Account
from kokugen.run import Signal

if sys.platform == "win32":
    from kokugen.registry.unguarded import UnguardedProgram as _Start
else:
    from kokugen.registry.guarded import GuardedProgram as _Start

_GRACE_S = 2.0
"""Between the polite signal and the last one."""
_KILL_S = 40.0
"""For the last signal; the guard gives up before."""
_LINGER_S = 0.5
"""For output and answers that are still under way when the program, or its guard, has ended."""
_KILLED = -9
"""The exit code of a program whose end nobody saw."""
_CUT = "[… cut …]\n"
_KEPT = ("SYSTEMROOT",) if sys.platform == "win32" else ()
_PATH = r"C:\Windows\System32" if sys.platform == "win32" else "/usr/bin:/bin"


class Launch(Struct, frozen=True, kw_only=True):
    """What to run, besides its arguments."""

    path: str
    timeout: timedelta
    cwd: str
    env: Mapping[str, str]
    output_max: int
    account: Account | None = None


class Ended(Struct, frozen=True):
    """How a program ended. `stopped` says why it did not end by itself, `left` which processes could not be killed."""

    returncode: int
    output: str
    stopped: str | None = None
    left: tuple[int, ...] = ()


def run_process(launch: Launch, arguments: list[str], cancelled: Signal | None) -> Ended:
    """Run a program and return how it ended; kill it, and what it started, when cancelled or over its time.

    What the program leaves behind is killed when it ends; what may not be killed is told, and left.
    """
    program = _started(launch, [launch.path, *arguments])
    tail = _Tail(launch.output_max)
    drain, wake, ended = _thread(tail.drain, program.output), Event(), Event()
    codes: list[int] = []
    _thread(_await, program, codes, ended, wake)
    if cancelled is not None:
        cancelled.when_set(wake.set)
    wake.wait(launch.timeout.total_seconds())
    stopped = None
    if not ended.is_set():
        stopped = f"cancelled: {cancelled.reason}" if cancelled else f"it took longer than {launch.timeout}"
        _stop(program, ended)
    drain.join(_LINGER_S)
    return Ended(codes[0] if codes else _KILLED, tail.text(), stopped, program.left)


class Program(Protocol):
    """A program that was started."""

    @property
    def output(self) -> IO[bytes]: ...

    @property
    def left(self) -> tuple[int, ...]:
        """The pids of what could not be killed, once it was waited for."""
        ...

    def terminate(self) -> None:
        """Ask it, and its group, to end."""
        ...

    def kill(self) -> None:
        """End it, and what it started."""
        ...

    def give_up(self) -> None:
        """End the waiting for what `kill` did not end."""
        ...

    def wait(self) -> int:
        """Wait for its end, and of what it left behind; return its exit code."""
        ...


class _Tail:
    """Keeps the last bytes of a stream, and reads on to its end so that the writer never blocks."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._data = b""
        self._cut = False

    def drain(self, stream: IO[bytes]) -> None:
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                data = self._data + chunk
                self._cut = self._cut or len(data) > self._size_max
                self._data = data[-self._size_max :]

    def text(self) -> str:
        return (_CUT if self._cut else "") + self._data.decode("utf-8", "replace")


def _started(launch: Launch, arguments: list[str]) -> Program:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env = {"PATH": _PATH, "LANG": "C.UTF-8", **kept, **launch.env}
    return _Start(arguments, cwd=launch.cwd, env=env, account=launch.account)


def _stop(program: Program, ended: Event) -> None:
    """End a program and its family: first politely, then not."""
    program.terminate()
    if not ended.wait(_GRACE_S):
        program.kill()
        if not ended.wait(_KILL_S):
            program.give_up()
            ended.wait(_LINGER_S)


def _await(program: Program, codes: list[int], ended: Event, wake: Event) -> None:
    try:
        codes.append(program.wait())
    finally:
        ended.set()
        wake.set()


def _thread(target: Callable[..., object], *arguments: object) -> Thread:
    thread = Thread(target=target, args=arguments, name="kokugen-command", daemon=True)
    thread.start()
    return thread
