"""Celery on Redis, where a Redis server is installed, with a worker of threads.

Redis writes and syncs its log at every command, so that what was accepted is durable. By Celery's default a task is
taken for done before it is called, so that a crash loses it; one for later waits in the memory of a worker.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks import work
from benchmarks.peers import WORKERS, broker
from kokugen.clock import from_us

READY_S = 10.0


@contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """Run a server in a folder, and yield another one, of a short name, with its socket."""
    path = broker()
    assert path is not None, "it is looked for first"
    short = Path(tempfile.mkdtemp(prefix="kk-rd-"))  # since a socket's path holds 107 bytes
    socket = short / "redis.sock"
    settings = {
        "dir": folder,
        "unixsocket": socket,
        "port": 0,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([path, *words], stdout=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + READY_S
        while not socket.exists():
            assert time.monotonic() < until_s, "Redis starts"
            time.sleep(0.01)
        yield short
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(short)


class Celery:
    """An application, and its worker in a thread of this process. Its place is a folder with a server's socket."""

    def __init__(self, place: Path | str | None) -> None:
        from celery import Celery as Application
        from kombu.transport.redis import Channel

        assert isinstance(place, Path), "Celery is measured on Redis"
        logging.getLogger("celery").setLevel(logging.ERROR)
        Channel.do_restore = False  # at the end of the process the server, and all that was not acknowledged, is gone
        self._app = Application("benchmark", broker=f"redis+socket://{place / 'redis.sock'}")
        self._app.conf.update(
            task_ignore_result=True,
            worker_prefetch_multiplier=100,
            worker_hijack_root_logger=False,
            broker_connection_retry_on_startup=True,
        )
        self._tasks = {one: self._app.task(name=one.__name__)(one) for one in work.PLAIN}
        self._worker: Any = None

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._send(work, due_us, args, {})

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        with self._app.producer_pool.acquire(block=True) as producer:
            for due_us, args in calls:
                self._send(work, due_us, args, {"producer": producer})

    def _send(self, work: Callable[..., object], due_us: int, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        when = {"eta": from_us(due_us)} if due_us > time.time_ns() // 1000 else {}
        self._tasks[work].apply_async(args, **when, **options)

    def start(self) -> None:
        from celery.worker import WorkController

        alone = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        self._worker = WorkController(self._app, pool_cls="threads", concurrency=WORKERS, **alone)
        Thread(target=self._worker.start, daemon=True).start()

    def settle(self) -> None:
        """A task is taken for done before it is called."""

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop(in_sighandler=True)
        self._app.close()
