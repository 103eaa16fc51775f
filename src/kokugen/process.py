"""Which process this is, in a way that another one on the same host can tell for sure when it is gone."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from pathlib import Path

from kokugen.task import NodeInfo
from kokugen.zones import tz_version

UNKNOWN = ""
CHILD_NAME = "kokugen-process-"
"""How the names of processes begin that a node runs work in."""


def is_child() -> bool:
    """Return whether this process was started by a node to run work in."""
    return multiprocessing.current_process().name.startswith(CHILD_NAME)


def this_node(node_id: str, *, label: str | None, version: str, now_us: int) -> NodeInfo:
    """Return this process as a node that starts now."""
    pid = os.getpid()
    host = platform.node() or "localhost"
    return NodeInfo(
        node_id=node_id,
        label=label or f"{host}:{pid}",
        host=host,
        boot_id=_boot_id(),
        pid=pid,
        pid_namespace=_pid_namespace(),
        pid_started=_started(pid) or 0,
        version=version,
        started_at=now_us,
        seen_at=now_us,
        tzdata=tz_version(),
    )


def is_gone(node: NodeInfo, here: NodeInfo) -> bool:
    """Return whether the node's process has surely ended, as seen from `here`; False where that can't be told.

    Sure are: it stopped by itself; the same host was booted since; its pid (told from a reused one by its start
    time) does not exist here. Anything else is left to the lease.
    """
    if node.stopped_at is not None:
        return True
    if not node.boot_id or node.host != here.host:
        return False
    if node.boot_id != here.boot_id:
        return bool(here.boot_id)
    if not node.pid_namespace or node.pid_namespace != here.pid_namespace:
        return False
    started = _started(node.pid)
    return started is None or started != node.pid_started


def _boot_id() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return UNKNOWN


def _started(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot (proc(5), field 22); None: there is none."""
    if sys.platform != "linux":
        return None
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return UNKNOWN
