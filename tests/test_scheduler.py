"""The faces: what `Scheduler` and `AsyncScheduler` promise, on real threads and loops."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from kokugen import (
    AsyncScheduler,
    Cancel,
    Middleware,
    Retry,
    RetryAfter,
    Scheduler,
    Snooze,
    TaskParam,
    TaskState,
    current_run,
)
from kokugen.engine.hooks import RunEvent
from kokugen.errors import (
    DuplicateTaskError,
    NoEntryError,
    NonexistentWorkIdError,
    NotUpdatableStateError,
    OptionError,
    ScheduledTimeError,
    SchedulerStateError,
    TaskFailedError,
    WaitTimeoutError,
    WorkArgumentsError,
)
from kokugen.middleware.base import ScheduleNext, ScheduleRequest, WorkNext
from kokugen.reply import Reply
from kokugen.repository.rows import CancelResult
from kokugen.run import Run
from tests.servers.stores import emptied_store

SOON = timedelta(0)
LATER = timedelta(hours=1)
WITHIN = timedelta(seconds=20)


@pytest.fixture(params=["memory://", "sqlite", "postgres"])
def scheduler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scheduler]:
    url = f"sqlite:///{tmp_path / 'tasks.db'}" if request.param == "sqlite" else request.param
    if request.param == "postgres":
        url = emptied_store(request.getfixturevalue("postgres"))
    one = Scheduler(url, workers=4)
    yield one
    one.close()


def test_work_is_called_with_its_arguments_and_its_result_is_kept(scheduler: Scheduler) -> None:
    @scheduler.work
    def greet(who: str, *, times: int) -> str:
        return f"hello {who}" * times

    scheduler.start()

    task = scheduler.after(SOON, greet, "Ann", times=2)

    assert task.result(WITHIN) == "hello Annhello Ann"
    assert task.info().state is TaskState.DONE


def test_async_work_runs_without_a_loop_of_the_users(scheduler: Scheduler) -> None:
    @scheduler.work
    async def double(number: int) -> int:
        return number * 2

    scheduler.start()

    assert scheduler.after(SOON, double, 21).result(WITHIN) == 42


def test_nothing_starts_before_its_time(scheduler: Scheduler) -> None:
    @scheduler.work
    def started_early_us() -> int:
        run = current_run()
        assert run.started_at is not None
        return (run.due_at - run.started_at) // timedelta(microseconds=1)

    scheduler.start()
    tasks = [scheduler.after(timedelta(milliseconds=20 * n), started_early_us) for n in range(15)]

    assert all(task.result(WITHIN) <= 0 for task in tasks)


def test_a_task_that_raises_is_tried_again_as_often_as_declared(scheduler: Scheduler) -> None:
    @scheduler.work(retry=Retry(3, initial=timedelta(milliseconds=1)))
    def fail() -> None:
        raise ValueError(f"attempt {current_run().attempt}")

    scheduler.start()
    task = scheduler.after(SOON, fail)

    with pytest.raises(TaskFailedError, match="attempt 3"):
        task.result(WITHIN)
    assert [one.attempt for one in scheduler.attempts(task.id)] == [1, 2, 3]


def test_a_task_that_raises_without_a_retry_is_failed(scheduler: Scheduler) -> None:
    @scheduler.work
    def fail() -> None:
        raise ValueError("no")

    scheduler.start()

    info = scheduler.after(SOON, fail).wait(WITHIN)

    assert (info.state, info.attempt) == (TaskState.FAILED, 1)
    assert "ValueError: no" in (info.error or "")


def test_a_snooze_gives_the_attempt_back_and_a_retry_after_does_not(scheduler: Scheduler) -> None:
    seen: list[int] = []

    @scheduler.work(retry=Retry(2))
    def restless() -> None:
        seen.append(current_run().attempt)
        if len(seen) == 1:
            raise Snooze(timedelta(milliseconds=1))
        if len(seen) == 2:
            raise RetryAfter(timedelta(milliseconds=1))

    scheduler.start()

    assert scheduler.after(SOON, restless).wait(WITHIN).state is TaskState.DONE
    assert seen == [1, 1, 2]


def test_a_timeout_of_one_call_alone_asks_its_run_to_stop(scheduler: Scheduler) -> None:
    @scheduler.work
    def stubborn() -> None:
        if current_run().cancelled.wait(WITHIN):
            raise TimeoutError("it was asked to stop")

    scheduler.start()

    info = scheduler.after(SOON, stubborn.options(timeout=timedelta(milliseconds=1))).wait(WITHIN)

    assert (info.state, info.reason) == (TaskState.FAILED, "timeout")


def test_a_retry_of_one_call_alone_waits_as_long_as_it_says(scheduler: Scheduler) -> None:
    @scheduler.work
    def fail() -> None:
        raise ValueError("no")

    retry = Retry(3, initial=timedelta(milliseconds=1), delay_max=timedelta(milliseconds=1))
    scheduler.start()

    info = scheduler.after(SOON, fail.options(retry=retry)).wait(WITHIN)

    assert (info.state, info.attempt) == (TaskState.FAILED, 3)


def test_work_may_cancel_its_own_task(scheduler: Scheduler) -> None:
    @scheduler.work(retry=Retry(5))
    def pointless() -> None:
        raise Cancel("nobody is there")

    scheduler.start()

    info = scheduler.after(SOON, pointless).wait(WITHIN)

    assert (info.state, info.reason) == (TaskState.CANCELLED, "nobody is there")


def test_a_cancelled_task_never_runs(scheduler: Scheduler) -> None:
    called = threading.Event()

    @scheduler.work
    def ring() -> None:
        called.set()

    scheduler.start()
    task = scheduler.after(timedelta(milliseconds=300), ring)

    assert task.cancel("no more") is CancelResult.CANCELLED
    assert task.cancelled()
    assert (task.info().state, task.info().reason) == (TaskState.CANCELLED, "no more")
    assert not called.wait(0.5)


def test_running_work_hears_of_its_cancellation_at_once(scheduler: Scheduler) -> None:
    running = threading.Event()

    @scheduler.work
    def patient() -> str:
        running.set()
        assert current_run().cancelled.wait(WITHIN)
        raise RuntimeError("stopped")

    scheduler.start()
    task = scheduler.after(SOON, patient)
    assert running.wait(20)

    assert task.cancel() is CancelResult.REQUESTED
    assert task.wait(WITHIN).state is TaskState.CANCELLED


def test_a_task_over_is_not_cancelled_nor_moved(scheduler: Scheduler) -> None:
    work = scheduler.work(lambda_free)
    scheduler.start()
    task = scheduler.after(SOON, work)
    task.wait(WITHIN)

    assert task.cancel() is CancelResult.REFUSED
    with pytest.raises(NotUpdatableStateError, match="Done"):
        task.reschedule(datetime.now(UTC) + LATER)
    assert task.info().state is TaskState.DONE


def lambda_free() -> None:
    """Do nothing."""


def test_a_moved_task_runs_at_its_new_time(scheduler: Scheduler) -> None:
    work = scheduler.work(lambda_free)
    scheduler.start()
    task = scheduler.after(LATER, work)

    task.reschedule(datetime.now(UTC))

    assert task.wait(WITHIN).state is TaskState.DONE


def test_higher_priority_goes_first_among_due_tasks(tmp_path: Path) -> None:
    scheduler, order = Scheduler(f"sqlite:///{tmp_path / 'p.db'}", workers=1), list[int]()

    @scheduler.work
    def note(level: int) -> None:
        order.append(level)

    tasks = [scheduler.after(SOON, note.options(priority=level), level) for level in (0, 1, 2, 3, 0, 3)]
    with scheduler:
        for task in tasks:
            task.wait(WITHIN)
    assert order == [3, 3, 2, 1, 0, 0]


def test_a_unique_key_admits_one_live_task(scheduler: Scheduler) -> None:
    work = scheduler.work(lambda_free).options(unique="ann")
    first = scheduler.after(LATER, work)

    with pytest.raises(DuplicateTaskError, match=first.id):
        scheduler.after(LATER, work)
    assert scheduler.count() == 1


def test_scheduling_the_same_id_again_makes_no_second_task(scheduler: Scheduler) -> None:
    param = TaskParam(work_id="remind", scheduled_time=datetime.now(UTC) + LATER, id="order-7")

    assert [scheduler.schedule(param).id for _ in range(3)] == ["order-7"] * 3
    assert scheduler.count() == 1


def test_the_handle_of_an_id_that_was_there_tells_what_is_stored(scheduler: Scheduler) -> None:
    noon = datetime(2099, 1, 1, 12, tzinfo=UTC)
    first = scheduler.schedule(TaskParam(work_id="remind", scheduled_time=noon, id="tea"))
    first.cancel()

    params = [TaskParam(work_id="bill", scheduled_time=noon + LATER, id=task_id) for task_id in ("tea", "new")]
    again, (tea, new) = scheduler.schedule(params[0]), scheduler.schedule_many(params)

    assert [one.existed for one in (first, again, tea, new)] == [False, True, True, False]
    for handle in (again, tea, scheduler.handle("tea")):
        assert (handle.work_id, handle.scheduled_time, handle.state) == ("remind", noon, TaskState.CANCELLED)
    assert (new.work_id, new.scheduled_time, new.state) == ("bill", noon + LATER, TaskState.INITIALIZED)


def test_work_that_is_unknown_here_waits_for_a_node_that_knows_it(scheduler: Scheduler) -> None:
    other = Scheduler(repository=scheduler.repository)
    known = scheduler.work(lambda_free)
    scheduler.start()
    stranger = scheduler.schedule(TaskParam(work_id="stranger", scheduled_time=datetime.now(UTC)))
    scheduler.after(SOON, known).wait(WITHIN)
    assert stranger.info().state is TaskState.INITIALIZED

    other.work(id="stranger")(lambda_free)
    other.start()

    assert stranger.wait(WITHIN).state is TaskState.DONE
    other.stop()


def test_arguments_that_the_work_cannot_read_quarantine_the_task_alone(scheduler: Scheduler) -> None:
    @scheduler.work
    def add(number: int) -> int:
        return number + 1

    bad = Scheduler(repository=scheduler.repository).schedule(
        TaskParam(work_id="add", scheduled_time=datetime.now(UTC), param=["seven"])
    )
    scheduler.start()

    assert scheduler.after(timedelta(milliseconds=50), add, 1).result(WITHIN) == 2
    held = scheduler.get(bad.id)
    assert (held.state, held.hold) == (TaskState.INITIALIZED, "undecodable")
    assert "int" in (held.reason or "")


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 12, 24, 18),  # noqa: DTZ001 - the point of the test
        datetime(2027, 3, 28, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        "tomorrow",
    ],
)
def test_a_time_without_a_zone_or_that_does_not_exist_is_refused(scheduler: Scheduler, when: datetime) -> None:
    work = scheduler.work(lambda_free)

    with pytest.raises(ScheduledTimeError):
        scheduler.at(when, work)
    assert scheduler.count() == 0


def test_wrong_arguments_are_refused_when_scheduling(scheduler: Scheduler) -> None:
    @scheduler.work
    def greet(who: str) -> None: ...

    with pytest.raises(WorkArgumentsError, match="greet"):
        scheduler.after(SOON, greet, "Ann", "Bob")  # type: ignore[call-arg]
    with pytest.raises(NonexistentWorkIdError, match="put @scheduler"):
        scheduler.after(SOON, print, "hello")  # type: ignore[arg-type]
    assert scheduler.count() == 0


def test_schedule_many_schedules_all_or_checks_all_first(scheduler: Scheduler) -> None:
    now = datetime.now(UTC) + LATER
    many = [TaskParam(work_id="remind", scheduled_time=now, param={"n": n}) for n in range(2500)]

    handles = scheduler.schedule_many(many)

    assert len({one.id for one in handles}) == scheduler.count() == len(list(scheduler.tasks())) == 2500
    with pytest.raises(OptionError):
        scheduler.schedule_many([*many[:3], TaskParam(work_id="not allowed!", scheduled_time=now)])
    assert scheduler.count() == 2500


@pytest.mark.parametrize("many", [5, None, [5], TaskParam(work_id="remind", scheduled_time=datetime.now(UTC))])
def test_schedule_many_refuses_what_is_no_list_of_params(scheduler: Scheduler, many: object) -> None:
    with pytest.raises(OptionError, match="TaskParam"):
        scheduler.schedule_many(many)  # type: ignore[arg-type]
    assert scheduler.count() == 0


@pytest.mark.parametrize(
    "given", [{"clock": 5}, {"works": 5}, {"settings": 5}, {"repository": 5}, {"middleware": 5}, {"url": 5}]
)
def test_a_scheduler_refuses_parts_that_are_none(given: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(given))}=5: use "):
        Scheduler(**given)  # type: ignore[arg-type]


def test_middleware_wraps_acceptance_and_work_outermost_first(tmp_path: Path) -> None:
    log: list[str] = []

    class Note(Middleware):
        def __init__(self, name: str) -> None:
            self.name = name

        def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[object]:
            log.append(f"schedule {self.name}")
            return call_next(request)

        def work(self, run: Run, call_next: WorkNext) -> object:
            log.append(f"work {self.name}")
            return call_next(run)

    scheduler = Scheduler("memory://", middleware=[Note("outer"), Note("inner")])
    work = scheduler.work(lambda_free)
    with scheduler:
        scheduler.after(SOON, work).wait(WITHIN)

    assert log == ["schedule outer", "schedule inner", "work outer", "work inner"]


def test_hooks_hear_of_failures(scheduler: Scheduler) -> None:
    dead, failed = threading.Event(), list[int]()
    scheduler.on_failed(lambda event: failed.append(event.run.attempt))
    scheduler.on_dead(lambda event: dead.set())

    @scheduler.work(retry=Retry(2, initial=timedelta(milliseconds=1)))
    def fail() -> None:
        raise ValueError

    scheduler.start()
    scheduler.after(SOON, fail)

    assert dead.wait(20)
    assert failed == [1, 2]


def test_stopping_gives_back_what_never_started_and_counts_no_attempt(tmp_path: Path) -> None:
    scheduler, started, go = (
        Scheduler(f"sqlite:///{tmp_path / 's.db'}", workers=1),
        threading.Event(),
        threading.Event(),
    )

    @scheduler.work
    def wait() -> None:
        started.set()
        go.wait(20)

    tasks = [scheduler.after(SOON, wait) for _ in range(5)]
    scheduler.start()
    assert started.wait(20)
    threading.Timer(0.2, go.set).start()

    assert scheduler.stop(timedelta(seconds=20))
    states = sorted((task.info().state, task.info().attempt) for task in tasks)
    assert states == [(TaskState.INITIALIZED, 0)] * 4 + [(TaskState.DONE, 1)]
    scheduler.close()


def test_revive_makes_an_ended_task_wait_again(scheduler: Scheduler) -> None:
    work = scheduler.work(lambda_free)
    task = scheduler.after(LATER, work)
    task.cancel()

    assert scheduler.revive(task.id, when=datetime.now(UTC), by="ann") == [task.id]
    scheduler.start()
    assert task.wait(WITHIN).state is TaskState.DONE


def test_all_that_failed_of_a_work_can_wait_again(scheduler: Scheduler) -> None:
    broken = [True]

    @scheduler.work
    def fragile(number: int) -> int:
        if broken:
            raise ValueError("no")
        return number

    scheduler.start()
    tasks = [scheduler.after(SOON, fragile, number) for number in range(5)]
    for task in tasks:
        assert task.wait(WITHIN).state is TaskState.FAILED
    broken.clear()

    assert scheduler.revive_all(work="other") == 0
    assert scheduler.revive_all(work=fragile, by="ann") == 5
    assert [task.result(WITHIN) for task in tasks] == [0, 1, 2, 3, 4]
    assert [one.outcome for one in scheduler.attempts(tasks[0].id)] == ["failed"]


def test_workers_are_added_and_removed_while_running(scheduler: Scheduler) -> None:
    meeting = threading.Barrier(6, timeout=20)

    @scheduler.work
    def meet() -> None:
        meeting.wait()

    scheduler.start()
    tasks = [scheduler.after(SOON, meet) for _ in range(6)]

    assert scheduler.add_workers(2) == 6
    assert all(task.wait(WITHIN).state is TaskState.DONE for task in tasks)
    assert scheduler.remove_workers(5) == 1


def test_active_says_how_many_runs_are_under_way(scheduler: Scheduler) -> None:
    meeting, gate = threading.Barrier(4, timeout=20), threading.Event()

    @scheduler.work
    def meet() -> None:
        meeting.wait()
        assert gate.wait(20)

    assert scheduler.active == 0
    scheduler.start()
    tasks = [scheduler.after(SOON, meet) for _ in range(3)]
    meeting.wait()

    assert scheduler.active == 3
    gate.set()
    assert all(task.wait(WITHIN).state is TaskState.DONE for task in tasks)


def test_no_code_of_the_users_runs_on_the_engines_thread(scheduler: Scheduler) -> None:
    places = dict[str, str]()

    def note(code: str) -> None:
        places[code] = threading.current_thread().name

    heard = threading.Event()
    scheduler.work(id="sync")(lambda: note("sync work"))

    @scheduler.work
    async def fail() -> None:
        note("async work")
        raise RuntimeError("for the hook")

    @scheduler.on_failed
    def hear(_: RunEvent) -> None:
        note("a hook")
        heard.set()

    scheduler.start()
    sync = scheduler.schedule(TaskParam(work_id="sync", scheduled_time=datetime.now(UTC)))
    assert sync.wait(WITHIN).state is TaskState.DONE
    assert scheduler.after(SOON, fail).wait(WITHIN).state is TaskState.FAILED
    assert heard.wait(20)
    assert "kokugen-engine" in {thread.name for thread in threading.enumerate()}
    assert places.keys() == {"sync work", "async work", "a hook"}
    assert "kokugen-engine" not in places.values()


def test_misuse_says_what_to_do(scheduler: Scheduler) -> None:
    scheduler.start()

    with pytest.raises(SchedulerStateError, match="already"):
        scheduler.start()
    with pytest.raises(NoEntryError):
        scheduler.get("nothing")
    with pytest.raises(OptionError, match="sqlite:///"):
        Scheduler("mysql://x").open()
    with pytest.raises(WaitTimeoutError):
        scheduler.after(LATER, scheduler.work(lambda_free)).wait(timedelta(milliseconds=5))


async def test_the_async_face_does_the_same_on_the_callers_loop(tmp_path: Path) -> None:
    scheduler = AsyncScheduler(f"sqlite:///{tmp_path / 'a.db'}")
    here = threading.get_ident()

    @scheduler.work
    async def where() -> bool:
        return threading.get_ident() == here

    async with scheduler:
        task = await scheduler.after(SOON, where)
        late = await scheduler.at(datetime.now(UTC) + LATER, where)

        assert await task.result(WITHIN) is True
        assert await late.cancel() is CancelResult.CANCELLED
        assert [info.state async for info in scheduler.tasks()] == [TaskState.DONE, TaskState.CANCELLED]
