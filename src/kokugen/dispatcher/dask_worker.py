"""A run in a worker of a Dask cluster: what `kokugen.dispatcher.dask` has the workers call.

A cluster runs a task again whose worker it believes dead, or whose result it lost with one. Work must not: an event in
the cluster's scheduler remembers that a run has begun.
"""

from __future__ import annotations

from threading import Lock

import msgspec
from distributed import Event

from kokugen.clock import SystemClock
from kokugen.dispatcher.crossing import Order, account_of_error, perform
from kokugen.errors import WorkerDiedError
from kokugen.run import Interrupt, Run, Signal

STOPS_MAX = 10_000
"""How many runs a worker remembers that are to be stopped, should they come."""

_runs: dict[str, Run] = {}
_stops: dict[str, tuple[Interrupt, str]] = {}
_lock = Lock()


def begun_event(key: str) -> str:
    """Return the name of the event that the run with this key has begun."""
    return f"kokugen-begun-{key}"


def run_order(key: str, text: str) -> str:
    """Run the work of an order, at most once in the cluster, and return the account: both are JSON text."""
    begun = Event(begun_event(key))
    order = msgspec.json.decode(text, type=Order)
    if begun.is_set():
        error = WorkerDiedError(f"the worker of Dask that ran work {order.task.work_id!r} died before it was over")
        return _encoded(account_of_error(error, f"WorkerDiedError: {error}"))
    begun.set()
    reference = order.work
    assert reference is not None, "a node says where its work is found"
    try:
        return _encoded(
            perform(order, reference.load, SystemClock(), stopping=Signal(), begun=lambda run: _register(key, run))
        )
    finally:
        with _lock:
            _runs.pop(key, None)


def ask_to_stop(key: str, interrupt: str, reason: str) -> bool:
    """Ask the run to stop, now or should it come; return whether it is under way in this worker."""
    asked = Interrupt(interrupt), reason
    with _lock:
        run = _runs.get(key)
        if run is None:
            _stops[key] = asked
            while len(_stops) > STOPS_MAX:
                del _stops[next(iter(_stops))]
            return False
    run.ask_to_stop(*asked)
    return True


def is_under_way(key: str) -> bool:
    """Return whether the run is under way in this worker."""
    return key in _runs


def _register(key: str, run: Run) -> None:
    with _lock:
        _runs[key] = run
        asked = _stops.pop(key, None)
    if asked is not None:
        run.ask_to_stop(*asked)


def _encoded(account: object) -> str:
    return msgspec.json.encode(account).decode()
