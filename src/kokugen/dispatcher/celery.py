"""Sync work in the workers of a Celery application that is there already: `pip install kokugen[celery]`.

Each worker thread of the dispatcher sends one run and waits for it; the workers answer by
`kokugen.dispatcher.celery_worker`. One thread asks the result backend about all runs: often while something happens,
and four times a second while nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Event, Lock, Thread
from typing import Any

import msgspec
from celery import Celery, states
from kombu.exceptions import OperationalError
from msgspec import Struct

from kokugen.clock import Clock, duration_us
from kokugen.dispatcher.celery_worker import BEGUN, DROPPED, SENT, TASK
from kokugen.dispatcher.crossing import Account, concluded, order_of
from kokugen.dispatcher.engines import UNREACHED_S, earlier_keys, key_of, stopped
from kokugen.dispatcher.paced import checked_workers, logger
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.errors import OptionError, WorkerDiedError
from kokugen.middleware.base import Middleware, work_chain
from kokugen.options import TIMEOUT_MAX, check_name, check_place
from kokugen.run import NotCalled, Run

OVER = states.READY_STATES | {DROPPED}
LOOK_S_MIN, LOOK_S_MAX, LOOK_GROWTH = 0.005, 0.25, 1.3
TERMINATED = "builtins:SystemExit"
"""What Celery raises in work that its worker terminates."""
QUERY_S = 10.0
"""How often a worker is asked whether it still has a run that has begun."""
MISSES_MAX = 2
ANSWER_S = 2.0
"""How long a worker may take to answer."""


class CeleryWorkers(Struct, frozen=True, kw_only=True):
    """A place in the workers of a Celery application, in which this node has up to `workers` runs at once.

    `queue` is Celery's queue, if not the application's default one. A run that was asked to stop is terminated by its
    worker, and killed after `kill_after`. Stores that share a broker, and choose the ids of their tasks themselves,
    have a `scope` each.
    """

    app: Celery
    queue: str | None = None
    workers: int = 32
    kill_after: timedelta = timedelta(seconds=1)
    scope: str = "kokugen"
    name: str = "celery"

    def __post_init__(self) -> None:
        check_place(self.name)
        check_name("scope", self.scope)
        checked_workers(self.workers)
        if not isinstance(self.app, Celery):
            raise OptionError(f"app={self.app!r}: use a Celery application")
        if not isinstance(self.kill_after, timedelta) or not timedelta(0) <= self.kill_after <= TIMEOUT_MAX:
            raise OptionError(f"kill_after={self.kill_after!r}: use a timedelta from zero to {TIMEOUT_MAX.days} days")

    def dispatcher(self, *, clock: Clock, middleware: Sequence[Middleware] = ()) -> CeleryDispatcher:
        return CeleryDispatcher(self, clock=clock, middleware=middleware)


class CeleryDispatcher(ThreadDispatcher):
    """Runs sync work in Celery's workers."""

    def __init__(self, place: CeleryWorkers, *, clock: Clock, middleware: Sequence[Middleware] = ()) -> None:
        super().__init__(place.workers, clock=clock, chain=work_chain(middleware, self._call, is_async=False))
        self.name = place.name
        self._place = place
        self._app = place.app
        self._watch = _Watch(place.app)

    def _call(self, run: Run) -> Any:
        order = msgspec.json.encode(order_of(run)).decode()
        account = self._of_earlier(run)
        if account is None:
            key = str(key_of(run, self._place.scope).uuid)
            self._send(key, order)
            account = self._account(run, key)
        return concluded(run, account)

    def _send(self, key: str, order: str) -> None:
        """Send it. A run that finds no broker is snoozed: it has not begun, and never will."""
        try:
            self._app.backend.store_result(key, None, SENT)
            self._app.send_task(TASK, (order,), task_id=key, queue=self._place.queue, retry=False)
        except _errors_of(self._app) as error:
            if self._drop(key):
                logger.warning("the Celery of %r cannot be reached: %s", self.name, error)
                raise NotCalled(timedelta(seconds=UNREACHED_S), f"Celery cannot be reached: {error}") from error

    def _drop(self, key: str) -> bool:
        """See to it that a run that has not begun never does; return whether it has not."""
        with suppress(*_errors_of(self._app)):
            if self._app.backend.get_state(key) == BEGUN:
                return False
            self._app.backend.store_result(key, None, DROPPED)
        return True

    # -- One run

    def _account(self, run: Run, key: str) -> Account:
        """Wait for the account of a run, and have its worker stop it where it is asked to."""
        over = self._watch.add(key)
        run.when_interrupted(lambda _: Thread(target=self._stop, args=(key, over), daemon=True).start())
        try:
            meta = self._over(key, over)
        finally:
            run.on_interrupt = None
            self._watch.remove(key)
        if meta is None or meta["status"] != states.SUCCESS:
            raise _unfinished(run, meta)
        account = msgspec.json.decode(meta["result"], type=Account)
        if run.interrupt is not None and account.error == TERMINATED:
            raise stopped(run, "Celery")
        return account

    def _over(self, key: str, over: _Over) -> dict[str, Any] | None:
        """Return what the backend has of it once it is over; None where it was lost with its worker."""
        misses = 0
        while not over.event.wait(QUERY_S):
            misses = 0 if self._is_kept(key) else misses + 1
            if misses >= MISSES_MAX:
                return None
        return over.meta

    def _is_kept(self, key: str) -> bool:
        """Return whether its worker still has it; one that runs work itself is not free to answer, and is believed."""
        meta = self._app.backend.get_task_meta(key, cache=False)
        told = meta["result"]
        if meta["status"] != BEGUN or not told["answers"]:
            return True
        answers = self._app.control.inspect(destination=[told["host"]], timeout=ANSWER_S).query_task(key) or {}
        return bool(answers.get(told["host"]))

    def _stop(self, key: str, over: _Over) -> None:
        """Have it dropped where it has not begun, else terminated, else killed; then it is over.

        Celery calls it revoked as soon as it was told to terminate it, which is too early.
        """
        over.stopping = True
        with suppress(*_errors_of(self._app)):
            dropped = self._drop(key)
            wait_s = duration_us(self._place.kill_after) / 1_000_000
            for signal in ("SIGTERM", "SIGKILL"):
                self._app.control.revoke(key, terminate=True, signal=signal)
                if dropped or over.event.wait(wait_s):
                    break
        over.event.set()

    # -- What Celery has of earlier runs

    def _of_earlier(self, run: Run) -> Account | None:
        """Return how a lost run of this attempt ended, once it has; None where none is to be found."""
        for earlier in earlier_keys(run, self._place.scope):
            key = str(earlier.uuid)
            if self._app.backend.get_state(key) == states.PENDING:
                continue
            with suppress(WorkerDiedError):
                account = self._account(run, key)
                if account.counts and account.error != TERMINATED:
                    return account
        return None


def _unfinished(run: Run, meta: dict[str, Any] | None) -> BaseException:
    """Return what to raise for a run without an account."""
    if run.interrupt is not None or meta is None or meta["status"] != states.FAILURE:
        return stopped(run, "Celery")
    return WorkerDiedError(f"Celery did not run work {run.work_id!r} to its end: {meta['result']!r}")


def _errors_of(app: Celery) -> tuple[type[Exception], ...]:
    """Return what is raised where the broker, or the result backend, cannot be reached."""
    return (OperationalError, OSError, *getattr(app.backend, "connection_errors", ()))


class _Over:
    """That a run is over, and what the backend says of it."""

    __slots__ = ("event", "meta", "stopping")

    def __init__(self) -> None:
        self.event = Event()
        self.stopping = False
        self.meta: dict[str, Any] | None = None


class _Watch:
    """Asks the result backend about all runs that are waited for, in a thread that lives as long as there are any."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._waiting: dict[str, _Over] = {}
        self._lock = Lock()
        self._running = False
        self._news = Event()

    def add(self, key: str) -> _Over:
        over = _Over()
        with self._lock:
            self._waiting[key] = over
            self._news.set()
            if not self._running:
                self._running = True
                Thread(target=self._serve, name="kokugen-celery-watch", daemon=True).start()
        return over

    def remove(self, key: str) -> None:
        with self._lock:
            self._waiting.pop(key, None)

    def _serve(self) -> None:
        pause_s = LOOK_S_MIN
        while self._goes_on():
            pause_s = LOOK_S_MIN if self._look() or self._news.is_set() else min(LOOK_S_MAX, pause_s * LOOK_GROWTH)
            self._news.clear()
            self._news.wait(pause_s)

    def _goes_on(self) -> bool:
        with self._lock:
            self._running = bool(self._waiting)
            return self._running

    def _look(self) -> bool:
        """Tell those whose run is over; return whether there were any."""
        with self._lock:
            waiting = list(self._waiting.items())
        try:
            found = [over for key, over in waiting if not over.event.is_set() and self._is_over(key, over)]
        except Exception as error:  # noqa: BLE001 - whatever a backend raises: it is asked again
            logger.warning("Celery's result backend does not answer: %s", error)
            return False
        for over in found:
            over.event.set()
        return bool(found)

    def _is_over(self, key: str, over: _Over) -> bool:
        over.meta = meta = self._app.backend.get_task_meta(key, cache=False)
        return meta["status"] in OVER and not (over.stopping and meta["status"] == states.REVOKED)
