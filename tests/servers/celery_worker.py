"""A Celery worker of two processes, in a process of its own: `python -m tests.servers.celery_worker BROKER`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready

from kokugen.dispatcher.celery_worker import serve
from kokugen.testing.dispatching.works import registry
from tests.dispatcher.engine_works import write_down

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 30.0
READY = "ready to work"


def app_of(url: str) -> Celery:
    """Return the application of this broker, without any task: as a node has it."""
    app = Celery("kokugen-tests", broker=url, backend=url, set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, result_expires=600)
    return app


@contextmanager
def celery_worker(url: str, queue: str = "celery") -> Iterator[subprocess.Popen[str]]:
    """Have a worker serve this broker."""
    command = [sys.executable, "-m", "tests.servers.celery_worker", url, queue]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any(line.strip() == READY for line in process.stdout), "the worker did not start"
        yield process
        process.terminate()
        process.communicate(timeout=STOP_S)


def main(url: str, queue: str) -> None:
    app, works = app_of(url), registry()
    works.add(write_down)
    serve(app, works)
    worker_ready.connect(lambda **_: os.write(1, f"{READY}\n".encode()), weak=False)
    os.environ["C_FORCE_ROOT"] = "1"
    app.worker_main(["worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR", "--queues", queue])


if __name__ == "__main__":
    main(*sys.argv[1:])
