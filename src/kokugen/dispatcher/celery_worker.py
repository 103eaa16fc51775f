"""A run in a Celery worker: `serve(app, works)` in the module that the workers load, beside the application's tasks.

`kokugen.dispatcher.celery` sends the messages. What becomes of a run stands in Celery's result backend: SENT by the
node, BEGUN by the worker, and then its result. A broker that delivers a message twice does not run it twice.
"""

from __future__ import annotations

import msgspec
from billiard import current_process
from celery import Celery, Task
from celery.exceptions import Ignore

from kokugen.clock import SystemClock
from kokugen.dispatcher.crossing import Order, perform
from kokugen.errors import OptionError
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.registry.work import as_work
from kokugen.run import Signal

TASK = "kokugen.run"
SENT = "SENT"
BEGUN = "BEGUN"
DROPPED = "DROPPED"
"""It was taken back before it began, and never will."""


def serve(app: Celery, works: WorkRegistry) -> None:
    """Have the workers of this Celery application run these works, as the task `kokugen.run`."""

    def run(self: Task, order: str) -> str:
        key, backend = self.request.id, self.backend
        if backend.get_state(key) != SENT:
            raise Ignore
        in_child = current_process().name != "MainProcess"
        backend.store_result(key, {"host": self.request.hostname, "answers": in_child}, BEGUN)
        return _performed(works, order)

    app.task(run, name=TASK, bind=True, acks_late=False, ignore_result=False, track_started=False)


def _performed(works: WorkRegistry, text: str) -> str:
    order = msgspec.json.decode(text, type=Order)
    account = perform(
        order, lambda: _load(works, order.task.work_id), SystemClock(), stopping=Signal(), begun=lambda _: None
    )
    return msgspec.json.encode(account).decode()


def _load(works: WorkRegistry, work_id: str) -> Work:
    found = works.load(work_id)
    if found is None:
        raise OptionError(f"the Celery worker knows no work {work_id!r}: give serve(app, works) what the node has")
    return as_work(work_id, found)
