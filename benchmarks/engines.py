"""Engines to hand work to: a Dask cluster of two processes, and a Celery worker of two over a Valkey of its own.

`python -m benchmarks.engines BROKER` is that worker.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import work
from benchmarks.measure import ROOT
from kokugen.clock import SystemClock
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.work import make_work

READY = "ready to work"


@contextmanager
def dask() -> Iterator[str]:
    """Yield the address of a cluster."""
    from tests.servers.dask_cluster import dask_cluster

    with dask_cluster() as address:
        yield address


def dask_dispatcher(address: str) -> Dispatcher:
    """Return a dispatcher to that cluster."""
    from kokugen.dispatcher.dask import DaskWorkers

    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of each connection that it closes
    return DaskWorkers(cluster=address, workers=8).dispatcher(clock=SystemClock())


@contextmanager
def celery() -> Iterator[str]:
    """Yield the URL of a broker that a worker serves."""
    from tests.servers.valkey import url_of, valkey

    with valkey() as socket:
        command = [sys.executable, "-m", "benchmarks.engines", url_of(socket)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True
        ) as worker:
            assert worker.stdout is not None
            assert any(line.strip() == READY for line in worker.stdout), "the worker did not start"
            yield url_of(socket)
            worker.terminate()
            worker.communicate()


def celery_dispatcher(url: str) -> Dispatcher:
    """Return a dispatcher to that worker."""
    from kokugen.dispatcher.celery import CeleryWorkers

    return CeleryWorkers(app=app_of(url), workers=8).dispatcher(clock=SystemClock())


def app_of(url: str) -> Any:
    """Return a Celery application."""
    from celery import Celery

    return Celery("kokugen-benchmarks", broker=url, backend=url, set_as_current=False)


def main(url: str) -> None:
    from celery.signals import worker_ready

    from kokugen.dispatcher.celery_worker import serve

    app, works = app_of(url), FunctionRegistry()
    works.add(make_work("noop", work.noop))
    serve(app, works)
    worker_ready.connect(lambda **_: os.write(1, f"{READY}\n".encode()), weak=False)
    os.environ["C_FORCE_ROOT"] = "1"
    app.worker_main(["worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR"])


if __name__ == "__main__":
    main(*sys.argv[1:])
