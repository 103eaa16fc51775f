"""A node that offers an engine, in its own process: `python -m tests.dispatcher.engine_node ENGINE WHERE STORE`."""

from __future__ import annotations

import sys
from threading import Event

from kokugen import Scheduler
from kokugen.dispatcher.place import Place
from tests.dispatcher.engine_works import works


def place_of(engine: str, where: str) -> Place:
    """Return the place of this engine."""
    if engine == "dask":
        from kokugen.dispatcher.dask import DaskWorkers

        return DaskWorkers(cluster=where, name="engine")
    from kokugen.dispatcher.celery import CeleryWorkers
    from tests.servers.celery_worker import app_of

    return CeleryWorkers(app=app_of(where), name="engine")


def main(engine: str, where: str, store: str) -> None:
    with Scheduler(store, works=works, places=[place_of(engine, where)]):
        Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
