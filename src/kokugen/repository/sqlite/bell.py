"""The bell: processes on one file wake each other by datagram sockets in a directory beside it.

The repository rings after a commit that made something due soon, and listens while an engine runs. A hint may be lost
(a full socket, a system without such sockets): the writer's look at other processes' commits is the net.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from errno import ECONNREFUSED
from pathlib import Path
from threading import Thread
from typing import Self

HINT_BYTES = 8
BIND_TRIES = 3


class Bell:
    """One process's part of it. `ring` is for one thread alone; `heard(due_us)` is called in a thread of the bell."""

    def __init__(self, store: Path, name: str) -> None:
        self._folder = store.with_name(f"{store.name}-wake")
        self._name = f"{name}.sock"
        self._ear: socket.socket | None = None
        self._mouth: socket.socket | None = None
        self._thread: Thread | None = None

    def listen(self, heard: Callable[[int], object]) -> None:
        """Hear others from now on, where the system can; repeating it does nothing."""
        if self._ear is not None or not hasattr(socket, "AF_UNIX"):
            return
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if not self._bind(ear):
            ear.close()
            return
        self._ear = ear
        self._thread = Thread(target=_hear, args=(ear, heard), name="kokugen-bell", daemon=True)
        self._thread.start()

    def _bind(self, ear: socket.socket) -> bool:
        for _ in range(BIND_TRIES):  # the directory goes with the last listener, which may be just now
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                with _Folder(self._folder) as folder:
                    ear.bind(folder.address(self._name))
                return True
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return False

    def ring(self, due_us: int) -> None:
        """Tell all others that tasks due then may have come. Never blocks and never raises."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - of names, after every commit
        except OSError:
            return
        others = [name for name in names if name != self._name]
        if others:
            with suppress(OSError), _Folder(self._folder) as folder:
                for name in others:
                    self._tell(folder, name, due_us.to_bytes(HINT_BYTES, "big", signed=True))

    def _tell(self, folder: _Folder, name: str, message: bytes) -> None:
        if self._mouth is None:
            self._mouth = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._mouth.setblocking(False)
        try:
            self._mouth.sendto(message, folder.address(name))
        except OSError as error:
            if error.errno == ECONNREFUSED:  # its process is gone
                with suppress(OSError):
                    (self._folder / name).unlink()

    def close(self) -> None:
        """Hear nothing more, and leave nothing behind. The thread ends by itself: it may be what calls this."""
        ear, self._ear = self._ear, None
        mouth, self._mouth = self._mouth, None
        if mouth is not None:
            mouth.close()
        if ear is None:
            return
        with suppress(OSError):
            ear.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            (self._folder / self._name).unlink()
        with suppress(OSError):
            self._folder.rmdir()


def _hear(ear: socket.socket, heard: Callable[[int], object]) -> None:
    with ear:
        while message := ear.recv(64):
            if len(message) == HINT_BYTES:
                heard(int.from_bytes(message, "big", signed=True))


class _Folder:
    """Names sockets in a directory by its open descriptor where that works: a socket's path is 108 bytes at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> Self:
        if os.path.isdir("/proc/self/fd"):  # noqa: PTH112
            self._fd = os.open(self._path, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def address(self, name: str) -> str:
        return str(self._path / name) if self._fd is None else f"/proc/self/fd/{self._fd}/{name}"
