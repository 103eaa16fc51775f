"""One program run to its end: no shell, a scrubbed environment, its output capped, its whole group killed in time.

`kokugen.registry.commands` calls it with an argument list that was checked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread
from typing import IO

from msgspec import Struct

from kokugen.run import Signal

_GRACE_S = 2.0
"""Between the polite signal and the last one."""
_LINGER_S = 0.5
"""For output that is still under way when the program has ended."""
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


class Ended(Struct, frozen=True):
    """How a program ended. `stopped` says why it did not end by itself."""

    returncode: int
    output: str
    stopped: str | None = None


def run_process(launch: Launch, arguments: list[str], cancelled: Signal | None) -> Ended:
    """Run a program and return how it ended; kill it, and what it started, when cancelled or over its time.

    What the program leaves behind in its process group is killed when it ends.
    """
    process = _started(launch, arguments)
    assert process.stdout is not None, "asked for"
    tail = _Tail(launch.output_max)
    drain, wake, ended = _thread(tail.drain, process.stdout), Event(), Event()
    _thread(_reap, process, ended, wake)
    if cancelled is not None:
        cancelled.when_set(wake.set)
    wake.wait(launch.timeout.total_seconds())
    stopped = None
    if not ended.is_set():
        stopped = f"cancelled: {cancelled.reason}" if cancelled else f"it took longer than {launch.timeout}"
        _stop(process, ended)
    drain.join(_LINGER_S)
    return Ended(process.returncode, tail.text(), stopped)


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


def _started(launch: Launch, arguments: list[str]) -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - the program is on the allow-list, its arguments were checked
        [launch.path, *arguments],
        executable=launch.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=launch.cwd,
        env={"PATH": _PATH, "LANG": "C.UTF-8", **kept, **launch.env},
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes], ended: Event) -> None:
    """End a process group: first politely, then not."""
    _kill_group(process, signal.SIGTERM)
    if not ended.wait(_GRACE_S):
        _kill_group(process, _LAST_SIGNAL)
        ended.wait()


if sys.platform == "win32":
    _LAST_SIGNAL = signal.SIGTERM

    def _kill_group(process: subprocess.Popen[bytes], number: int) -> None:  # noqa: ARG001 - there is one way only
        """End the process and its children."""
        subprocess.run(  # noqa: S603
            [rf"{_PATH}\taskkill.exe", "/F", "/T", "/PID", str(process.pid)], check=False, capture_output=True
        )

    def _kill_rest(process: subprocess.Popen[bytes]) -> None:
        """Do nothing: an ended process names no children here."""

    def _await_end(process: subprocess.Popen[bytes]) -> None:
        process.wait()
else:
    _LAST_SIGNAL = signal.SIGKILL

    def _kill_group(process: subprocess.Popen[bytes], number: int) -> None:
        """Signal every process of the group; the process leads a session of its own, so its pid names the group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    def _kill_rest(process: subprocess.Popen[bytes]) -> None:
        _kill_group(process, _LAST_SIGNAL)

    def _await_end(process: subprocess.Popen[bytes]) -> None:
        """Wait without reaping it where that can be done: until then its pid names its group, and no other."""
        if hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # somebody has the system reap all children
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()


def _reap(process: subprocess.Popen[bytes], ended: Event, wake: Event) -> None:
    """Wait for the program's end, and kill what it left behind."""
    _await_end(process)
    _kill_rest(process)
    process.wait()
    ended.set()
    wake.set()


def _thread(target: Callable[..., object], *arguments: object) -> Thread:
    thread = Thread(target=target, args=arguments, name="kokugen-command", daemon=True)
    thread.start()
    return thread
