"""The seed's rescheduler: a cron row whose command is scheduled for its next time, again after each run.

An application makes one for each row of a tab and starts it; it schedules through the front door of a scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from threading import Event, Lock, Thread
from typing import Any, Protocol, TypeVar

from kokugen.clock import Clock, SystemClock, from_us
from kokugen.errors import InvalidEntryError, RepositoryError, SchedulerStateError
from kokugen.ids import IdSource, system_random
from kokugen.recurrence.row import CronRow
from kokugen.task import TaskInfo, TaskParam

RETRY_S = 1.0
"""How long to wait before a store is asked again that failed."""
REASON = "its cron row was cancelled"

T = TypeVar("T")


class CronHandle(Protocol):
    """What a rescheduler needs of a task's handle (`kokugen.handle.TaskHandle` has it)."""

    def wait(self, timeout: timedelta | None = None) -> TaskInfo:
        """Block until the task is over and return it."""
        ...

    def cancel(self, reason: str | None = None) -> Any:
        """Cancel the task."""
        ...


class CronScheduler(Protocol):
    """What a rescheduler needs of a scheduler (`kokugen.scheduler.Scheduler` has it)."""

    def schedule(self, param: TaskParam) -> CronHandle:
        """Schedule a task."""
        ...


class CronRescheduler:
    """Keeps one task of a cron row scheduled, from `start()` until `cancel()`.

    The next task is scheduled once the one before is over, for the first time of the row that is still to come: runs
    never overlap, and times that pass during a long run are left out. `should_reschedule(info, count)` is asked after
    each, with what became of it and how many there were before it; False ends it. A reboot row runs once, at the
    start. The first element of the row's command is the work id, the others are its arguments.
    """

    def __init__(
        self,
        row: CronRow,
        scheduler: CronScheduler,
        *,
        tz: tzinfo = UTC,
        should_reschedule: Callable[[TaskInfo, int], bool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not row.command or not row.command[0]:
            raise InvalidEntryError(f"cron row {row} has no command: give CronRow(command=('work id', …))")
        self.error: Exception | None = None
        """Why it ended by itself, where that was an error."""
        self._row = row
        self._scheduler = scheduler
        self._tz = tz
        self._should_reschedule = should_reschedule
        self._clock = clock or SystemClock()
        self._ids = IdSource(self._clock, system_random())
        self._lock = Lock()
        self._cancelled = Event()
        self._handle: CronHandle | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Schedule the row from now on; raises what the scheduler raises for its first task, and then is not started.

        Raises SchedulerStateError where it was started and is not over yet: it may be started again after `cancel()`,
        once `join()` says that nothing of it still runs.
        """
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise SchedulerStateError(
                    f"cron row {self._row.command} is scheduled already: cancel() and join() first"
                )
            self.error = None
            self._cancelled.clear()
            now = from_us(self._clock.wall_us())
            when = self._row.next(now, self._tz) or now
            self._handle = self._scheduler.schedule(self._param(when))
            args = (when, self._handle)
            self._thread = Thread(target=self._work, args=args, name="kokugen-cron", daemon=True)
            self._thread.start()

    def cancel(self) -> bool:
        """Schedule nothing more and cancel the task that waits, or runs; return whether there was one."""
        with self._lock:
            self._cancelled.set()
            handle = self._handle
        if handle is None:
            return False
        handle.cancel(reason=REASON)
        return True

    def join(self, timeout: timedelta | None = None) -> bool:
        """Wait until nothing of it is scheduled or runs any more; return whether that is so."""
        thread = self._thread
        if thread is not None:
            thread.join(None if timeout is None else timeout.total_seconds())
        return thread is None or not thread.is_alive()

    def _work(self, when: datetime, handle: CronHandle) -> None:
        try:
            self._repeat(when, handle)
        except Exception as error:  # noqa: BLE001 - there is no caller: it is kept for the one who asks
            self.error = error

    def _repeat(self, when: datetime, first: CronHandle) -> None:
        count, handle, last = 0, first, when
        while (info := self._until_over(handle)) is not None:
            if self._should_reschedule is not None and not self._should_reschedule(info, count):
                return
            count += 1
            upcoming = self._row.next(max(last, from_us(self._clock.wall_us())), self._tz)
            if upcoming is None or (scheduled := self._schedule(upcoming)) is None:
                return
            last, handle = upcoming, scheduled

    def _until_over(self, handle: CronHandle) -> TaskInfo | None:
        """Wait for a task's end; None: the row was cancelled."""
        info = self._insist(handle.wait)
        with self._lock:
            self._handle = None
        return None if self._cancelled.is_set() else info

    def _schedule(self, when: datetime) -> CronHandle | None:
        """Schedule the row's command; None: the row was cancelled."""
        param = self._param(when)
        handle = self._insist(lambda: self._scheduler.schedule(param))
        with self._lock:
            self._handle = handle
            cancelled = self._cancelled.is_set()
        if cancelled and handle is not None:
            handle.cancel(reason=REASON)
        return None if cancelled else handle

    def _insist(self, ask: Callable[[], T]) -> T | None:
        """Ask again while the store fails, until the row is cancelled: then None."""
        while not self._cancelled.is_set():
            try:
                return ask()
            except RepositoryError:
                self._cancelled.wait(RETRY_S)
        return None

    def _param(self, when: datetime) -> TaskParam:
        """Return the task for a time, with its id, so that an unanswered try makes no second one."""
        return TaskParam(
            work_id=self._row.command[0],
            scheduled_time=when,
            param=self._row.command[1:],
            id=self._ids.task_id(),
        )
