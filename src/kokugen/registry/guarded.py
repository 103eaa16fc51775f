"""A program under its guard, as the node sees it: started, asked to end, killed, awaited.

`kokugen.registry.process` calls it on every system but Windows. The guard is `kokugen.registry.guard`, a process of its
own: this module speaks with it through a socket pair, whose end the death of the node closes, however it dies.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO

from kokugen.errors import OptionError
from kokugen.registry.account import Account
from kokugen.registry.guard import LENGTH_DIGITS

SCRIPT = str(Path(__file__).with_name("guard.py"))
_INTERPRETERS = ("python", "pypy")
_NEEDED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What an interpreter may need to find its own libraries; the program does not get it."""


class GuardedProgram:
    """A program that runs, or has run. Raises OSError where it cannot be started."""

    def __init__(
        self, arguments: list[str], *, cwd: str, env: Mapping[str, str], account: Account | None = None
    ) -> None:
        self._path, self._cwd, self._account = arguments[0], cwd, account
        self._lock = Lock()
        self._pid: int | None = None
        self._code: int | None = None
        self.left: tuple[int, ...] = ()
        ours, its = socket.socketpair()
        with its:
            try:
                self._guard = _started(its.fileno())
            except BaseException:
                ours.close()
                raise
        self._channel: socket.socket | None = ours
        assert self._guard.stdout is not None, "asked for"
        self.output: IO[bytes] = self._guard.stdout
        try:
            self._begin(_message(arguments, cwd, env, account))
        except BaseException:
            self.output.close()
            raise

    def _begin(self, message: bytes) -> None:
        assert self._channel is not None, "it was just opened"
        self._answers = self._channel.makefile("rb")
        with suppress(BrokenPipeError, ConnectionResetError):
            self._channel.sendall(message)
        answer = self._answer()
        if answer[:1] == "S":
            self._pid = int(answer[1:])
            return
        self._end()
        what, _, number = answer[1:].partition(" ")
        if answer[:1] != "F":
            raise OSError(f"the guard of {self._path} ended with {self._guard.returncode} before it started it")
        raise OSError(int(number), os.strerror(int(number)), self._named(what))

    def _named(self, what: str) -> str:
        if what == "user" and self._account is not None:
            return f"user {self._account.name}"
        return self._cwd if what == "cwd" else self._path

    def terminate(self) -> None:
        """Ask the program and its group to end."""
        self._order(b"T")

    def kill(self) -> None:
        """End the program and everything that it started."""
        self._order(b"K")

    def give_up(self) -> None:
        """End the guard, which should have ended long ago, and with it the waiting."""
        self._guard.kill()

    def wait(self) -> int:
        """Wait until it ended, and all of what it started that can be killed; return its exit code.

        It is negative for a signal. `left` are the pids of what could not be killed.
        """
        while answer := self._answer():
            if answer[:1] == "L":
                self.left = tuple(map(int, answer[1:].split()))
            if answer[:1] == "E":
                self._code = int(answer[1:])
        self._end()
        if self._code is not None:
            return self._code
        self._kill_group()
        return -int(signal.SIGKILL)

    def _order(self, order: bytes) -> None:
        with self._lock, suppress(OSError):
            if self._channel is not None:
                self._channel.send(order)

    def _answer(self) -> str:
        """Return the next answer; nothing where there will be no more."""
        try:
            return self._answers.readline().decode().strip()
        except OSError:
            return ""

    def _end(self) -> None:
        self._guard.wait()
        with self._lock:
            channel, self._channel = self._channel, None
        self._answers.close()
        if channel is not None:
            channel.close()

    def _kill_group(self) -> None:
        """End the group of a program whose guard was killed: Linux has killed the program itself by then."""
        if self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


def _started(channel: int) -> subprocess.Popen[bytes]:
    """Start a guard, in a session of its own so that no terminal signals it, with an environment as empty as can be."""
    command = [_interpreter(), "-I", "-S", SCRIPT, str(channel), str(os.getpid())]
    return subprocess.Popen(  # noqa: S603 - this Python, and a script of this package
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=os.sep,
        env={name: os.environ[name] for name in _NEEDED if name in os.environ},
        pass_fds=(channel,),
        start_new_session=True,
    )


def _message(arguments: list[str], cwd: str, env: Mapping[str, str], account: Account | None) -> bytes:
    """Return what the guard is told: folder, account, how many arguments there are, they, and the environment."""
    user = "" if account is None else f"{account.name}:{account.uid}:{account.gid}"
    words = [cwd, user, str(len(arguments)), *arguments, *(f"{name}={value}" for name, value in env.items())]
    body = b"\0".join(map(os.fsencode, words))
    return f"{len(body):0{LENGTH_DIGITS}}".encode() + body


def _interpreter() -> str:
    """Return the Python that runs here; a program that embeds it is none. Raises OptionError where there is none."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (Path(sys.executable or os.sep), Path(sys.base_exec_prefix, "bin", name)):
        if path.name.startswith(_INTERPRETERS) and os.access(path, os.X_OK):
            return str(path)
    raise OptionError("commands need a Python to guard them: this one is embedded, and no other was found beside it")
