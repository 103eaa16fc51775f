from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from queue import Queue

import pytest

from kokugen.clock import to_us
from kokugen.errors import InvalidEntryError, RepositoryUnavailableError, SchedulerStateError
from kokugen.recurrence.rescheduler import CronRescheduler
from kokugen.recurrence.row import CronRow
from kokugen.reply import Reply
from kokugen.task import TaskInfo, TaskParam, TaskState

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LONG = timedelta(seconds=20)
HOURLY = CronRow(minute=(0,), command=("report", "daily"))


class StillClock:
    def __init__(self) -> None:
        self.now = NOON

    def wall_us(self) -> int:
        return to_us(self.now)

    def boot_s(self) -> float:
        return 0.0


class FakeHandle:
    def __init__(self, param: TaskParam) -> None:
        self.param = param
        self.over: Reply[TaskState] = Reply()

    def wait(self, timeout: timedelta | None = None) -> TaskInfo:
        state = self.over.result(20)
        return TaskInfo(work_id=self.param.work_id, scheduled_time=self.param.scheduled_time, state=state)

    def cancel(self, reason: str | None = None) -> None:
        if not self.over.done():
            self.over.resolve(TaskState.CANCELLED)


class FakeScheduler:
    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.tried: list[TaskParam] = []
        self.handles: Queue[FakeHandle] = Queue()

    def schedule(self, param: TaskParam) -> FakeHandle:
        self.tried.append(param)
        if self.errors:
            raise self.errors.pop()
        handle = FakeHandle(param)
        self.handles.put(handle)
        return handle

    def next(self) -> FakeHandle:
        return self.handles.get(timeout=20)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def cron(scheduler: FakeScheduler, clock: StillClock) -> Iterator[CronRescheduler]:
    rescheduler = CronRescheduler(HOURLY, scheduler, clock=clock)
    rescheduler.start()
    yield rescheduler
    rescheduler.cancel()
    assert rescheduler.join(LONG)


def test_the_command_is_scheduled_for_the_next_time(cron: CronRescheduler, scheduler: FakeScheduler) -> None:
    param = scheduler.next().param
    assert (param.work_id, param.param) == ("report", ("daily",))
    assert param.scheduled_time == NOON + timedelta(hours=1)


def test_the_next_is_scheduled_when_the_one_before_is_over(cron: CronRescheduler, scheduler: FakeScheduler) -> None:
    first = scheduler.next()
    assert len(scheduler.tried) == 1
    first.over.resolve(TaskState.DONE)
    assert scheduler.next().param.scheduled_time == NOON + timedelta(hours=2)


def test_times_that_pass_during_a_long_run_are_left_out(
    cron: CronRescheduler, scheduler: FakeScheduler, clock: StillClock
) -> None:
    first = scheduler.next()
    clock.now = NOON + timedelta(hours=5, minutes=1)
    first.over.resolve(TaskState.FAILED)
    assert scheduler.next().param.scheduled_time == NOON + timedelta(hours=6)


def test_cancel_cancels_the_task_and_schedules_no_other(cron: CronRescheduler, scheduler: FakeScheduler) -> None:
    handle = scheduler.next()
    assert cron.cancel()
    assert cron.join(LONG)
    assert handle.over.peek() is TaskState.CANCELLED
    assert len(scheduler.tried) == 1
    assert not cron.cancel()


def test_it_can_be_started_again_after_a_cancel_but_not_twice(cron: CronRescheduler, scheduler: FakeScheduler) -> None:
    scheduler.next()
    with pytest.raises(SchedulerStateError, match="already"):
        cron.start()
    cron.cancel()
    assert cron.join(LONG)
    cron.start()
    assert scheduler.next().param.scheduled_time == NOON + timedelta(hours=1)


def test_should_reschedule_decides_after_each_run(scheduler: FakeScheduler, clock: StillClock) -> None:
    asked: list[tuple[TaskState, int]] = []

    def once_more(info: TaskInfo, count: int) -> bool:
        asked.append((info.state, count))
        return count == 0

    cron = CronRescheduler(HOURLY, scheduler, clock=clock, should_reschedule=once_more)
    cron.start()
    scheduler.next().over.resolve(TaskState.FAILED)
    scheduler.next().over.resolve(TaskState.DONE)
    assert cron.join(LONG)
    assert asked == [(TaskState.FAILED, 0), (TaskState.DONE, 1)]


def test_a_reboot_row_runs_once_at_the_start(scheduler: FakeScheduler, clock: StillClock) -> None:
    cron = CronRescheduler(CronRow(command=("once",)), scheduler, clock=clock)
    cron.start()
    handle = scheduler.next()
    handle.over.resolve(TaskState.DONE)
    assert cron.join(LONG)
    assert handle.param.scheduled_time == NOON
    assert len(scheduler.tried) == 1


def test_a_store_that_fails_is_asked_again_for_the_same_task(
    cron: CronRescheduler, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kokugen.recurrence.rescheduler.RETRY_S", 0.0)
    scheduler.errors = [RepositoryUnavailableError("locked"), RepositoryUnavailableError("locked")]
    scheduler.next().over.resolve(TaskState.DONE)
    scheduler.next()
    assert len(scheduler.tried) == 4
    assert len({param.id for param in scheduler.tried}) == 2


def test_a_start_that_the_scheduler_refuses_did_not_happen(scheduler: FakeScheduler, clock: StillClock) -> None:
    scheduler.errors = [RepositoryUnavailableError("locked")]
    cron = CronRescheduler(HOURLY, scheduler, clock=clock)
    with pytest.raises(RepositoryUnavailableError):
        cron.start()
    cron.start()
    cron.cancel()
    assert cron.join(LONG)


def test_any_other_error_ends_it_and_is_kept(cron: CronRescheduler, scheduler: FakeScheduler) -> None:
    scheduler.errors = [SchedulerStateError("stopped")]
    scheduler.next().over.resolve(TaskState.DONE)
    assert cron.join(LONG)
    assert isinstance(cron.error, SchedulerStateError)


def test_a_row_without_a_command_is_refused(scheduler: FakeScheduler) -> None:
    with pytest.raises(InvalidEntryError, match="command"):
        CronRescheduler(CronRow(hour=(1,)), scheduler)
