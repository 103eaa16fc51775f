"""PgBouncer itself, in transaction mode, in front of a server of `postgres`: where the system has it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
READY_S = 30.0
SETTINGS = """
[databases]
postgres = host={server} port=5432 user=postgres
[pgbouncer]
unix_socket_dir = {folder}
listen_port = 5432
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
"""


@contextmanager
def bouncing(server: Path) -> Iterator[str]:
    """Yield the URL of a PgBouncer in front of the server whose socket is in this folder."""
    assert PROGRAM is not None
    folder = Path(tempfile.mkdtemp(prefix="kk-pb-"))
    user = _unprivileged(folder)
    (folder / "ini").write_text(SETTINGS.format(server=server, folder=folder), encoding="utf-8")
    with subprocess.Popen([PROGRAM, "-q", folder / "ini"], cwd=folder, stderr=subprocess.DEVNULL, **user) as process:
        deadline = time.monotonic() + READY_S
        while not (folder / ".s.PGSQL.5432").exists():
            assert process.poll() is None, "PgBouncer ended by itself"
            assert time.monotonic() < deadline, "PgBouncer did not start"
            time.sleep(0.01)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}&pooled=true"
        finally:
            process.kill()
    shutil.rmtree(folder)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Return how to start it as nobody, where this is root: it refuses to run as that."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    folder.chmod(0o755)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
