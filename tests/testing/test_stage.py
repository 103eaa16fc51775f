"""Virtual time for plain test functions: the application's own schedulers, and every fixture, do what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest

from kokugen import AsyncScheduler, FunctionRegistry, Priority, Retry, Scheduler, TaskParam, TaskState
from kokugen.errors import NoEntryError, SchedulerStateError, WaitTimeoutError
from kokugen.middleware.observe import ObserveMiddleware
from kokugen.recurrence import Cron
from kokugen.registry.params import param_work
from kokugen.testing import Recorder, Stage, assert_not_scheduled, assert_scheduled, scheduled

SOON = timedelta(0)
DAY = timedelta(days=1)


class Shop:
    """An application with a scheduler on a file, some works, and what they did."""

    def __init__(self, url: str) -> None:
        self.scheduler = Scheduler(url)
        self.told: list[Any] = []
        self.clock: Any = None
        self.remind = self.scheduler.work(id="remind")(self._remind)
        self.fail = self.scheduler.work(id="fail", retry=Retry(3, initial=DAY, delay_max=7 * DAY, jitter=False))(
            self._fail
        )
        self.chain = self.scheduler.work(id="chain")(self._chain)

    def _remind(self, who: str, text: str = "Tea!") -> str:
        self.told.append((who, text, self.clock.now))
        return f"{who}: {text}"

    def _fail(self) -> None:
        self.told.append(self.clock.now)
        raise ConnectionError("the mail server is down")

    def _chain(self, left: int) -> None:
        self.told.append(left)
        if left:
            self.scheduler.after(SOON, self.chain, left - 1)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture
def shop(stage: Stage, tmp_path: Path) -> Shop:
    shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}")
    stage.take(shop.scheduler)
    shop.clock = stage.clock
    return shop


def test_advancing_runs_what_is_due_until_then_at_its_very_instant(stage: Stage, shop: Shop) -> None:
    start = stage.clock.now
    for days in (10, 31):
        shop.scheduler.after(days * DAY, shop.remind, "Ann")
    stage.clock.advance(days=30)
    assert shop.told == [("Ann", "Tea!", start + 10 * DAY)]
    assert stage.clock.now == start + 30 * DAY
    stage.clock.advance(timedelta(hours=23), minutes=59, seconds=59)
    assert len(shop.told) == 1
    stage.clock.advance_to(start + 31 * DAY)
    assert [when for _, _, when in shop.told] == [start + 10 * DAY, start + 31 * DAY]


def test_what_is_due_at_the_very_end_is_run_every_time(stage: Stage, shop: Shop) -> None:
    random = Random(7)
    for count in range(1, 101):
        span = timedelta(microseconds=random.randrange(1, 10**12))
        shop.scheduler.after(span, shop.remind, "Ann")
        end = stage.clock.now + span
        stage.clock.advance(span)
        assert (len(shop.told), shop.told[-1][2], stage.clock.now) == (count, end, end)


def test_time_goes_forward_only_and_to_an_instant(stage: Stage) -> None:
    with pytest.raises(ValueError, match="does not run backwards"):
        stage.clock.advance(days=-1)
    with pytest.raises(ValueError, match="naive"):
        stage.clock.advance_to(datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused


def test_waiting_lets_just_enough_time_pass(stage: Stage, shop: Shop) -> None:
    task = shop.scheduler.after(3 * DAY, shop.remind, "Ann", text="Milk!")
    assert task.result() == "Ann: Milk!"
    assert stage.clock.now == task.scheduled_time
    other = shop.scheduler.after(3 * DAY, shop.remind, "Bob")
    with pytest.raises(WaitTimeoutError):
        other.wait(DAY)
    assert stage.clock.now == task.scheduled_time + DAY


def test_retries_come_when_they_are_due_and_hooks_hear_of_the_end(stage: Stage, shop: Shop) -> None:
    dead: list[str] = []
    shop.scheduler.on_dead(lambda event: dead.append(event.run.task_id))
    start = stage.clock.now
    task = shop.scheduler.after(SOON, shop.fail)
    stage.clock.advance(days=30)
    assert shop.told == [start, start + DAY, start + 3 * DAY]
    assert (task.info().state, dead) == (TaskState.FAILED, [task.id])


def test_a_result_is_there_after_years(stage: Stage, shop: Shop) -> None:
    task = shop.scheduler.after(SOON, shop.remind, "Ann")
    stage.clock.advance(days=3 * 365)
    assert task.result() == "Ann: Tea!"


def test_a_hook_and_a_middleware_of_the_application_are_on_the_stage_too(stage: Stage, tmp_path: Path) -> None:
    seen: list[str] = []
    watch = ObserveMiddleware(lambda request: seen.append("scheduled"), lambda *_: seen.append("ran"))
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", middleware=[watch])
    scheduler.on_late(lambda event: seen.append("late"))
    work = scheduler.work(id="work")(lambda: None)
    stage.take(scheduler)
    scheduler.at(stage.clock.now - DAY, work)
    stage.clock.advance()
    assert seen == ["scheduled", "ran", "late"]


def test_the_scheduler_has_its_own_store_back_in_the_end_and_the_file_knows_nothing(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}")
    with Stage() as stage:
        shop.clock = stage.clock
        task = stage.take(shop.scheduler).after(SOON, shop.remind, "Ann")
        stage.clock.advance(days=1)
    assert not (tmp_path / "shop.db").exists()
    assert type(shop.scheduler) is Scheduler
    with shop.scheduler:
        with pytest.raises(NoEntryError):
            shop.scheduler.get(task.id)
        assert shop.scheduler.after(SOON, shop.remind, "Bob").result(timedelta(seconds=30)) == "Bob: Tea!"
        assert shop.scheduler.nodes() != []


def test_starting_and_stopping_it_changes_nothing_and_starts_no_thread(
    stage: Stage, shop: Shop, started_threads: list[Thread]
) -> None:
    with shop.scheduler as scheduler:
        scheduler.after(DAY, shop.remind, "Ann")
    assert not shop.scheduler.running
    stage.clock.advance(days=1)
    assert len(shop.told) == 1
    assert started_threads == []


def test_a_scheduler_that_runs_is_refused(tmp_path: Path) -> None:
    with (
        Scheduler("memory://") as scheduler,
        Stage() as stage,
        pytest.raises(SchedulerStateError, match="before it is started"),
    ):
        stage.take(scheduler)


def test_two_schedulers_on_one_stage_share_its_time(stage: Stage) -> None:
    first, second = Shop("memory://"), Shop("memory://")
    for shop in (first, second):
        shop.clock = stage.clock
        stage.take(shop.scheduler)
    first.scheduler.after(2 * DAY, first.remind, "Ann")
    second.scheduler.after(DAY, second.remind, "Bob")
    stage.clock.advance(days=2)
    assert [first.told[0][0], second.told[0][0]] == ["Ann", "Bob"]
    assert first.told[0][2] - second.told[0][2] == DAY


def test_work_cannot_let_time_pass(stage: Stage, shop: Shop) -> None:
    @shop.scheduler.work
    def hurry() -> None:
        stage.clock.advance(days=1)

    task = shop.scheduler.after(SOON, hurry)
    stage.clock.advance()
    assert "time passes already" in (task.info().error or "")


def test_schedules_recur_as_time_passes_declared_ones_too(stage: Stage) -> None:
    scheduler, told = Scheduler("memory://"), list[datetime]()

    @scheduler.every(Cron("0 9 * * *", tz="Asia/Tokyo"))
    def open_shop() -> None:
        told.append(stage.clock.now)

    @scheduler.work
    def close_shop() -> None:
        told.append(stage.clock.now)

    stage.take(scheduler)
    scheduler.every(Cron("0 18 * * *", tz="Asia/Tokyo"), close_shop)
    stage.clock.advance(days=7)
    assert len(told) == 14
    assert {when.hour for when in told} == {0, 9}


# -- Inline


def test_inline_what_is_due_runs_before_the_call_returns(stage: Stage, shop: Shop) -> None:
    stage.inline = True
    task = shop.scheduler.after(SOON, shop.remind, "Ann")
    assert [who for who, _, _ in shop.told] == ["Ann"]
    assert task.result() == "Ann: Tea!"
    shop.scheduler.schedule(TaskParam(work_id="remind", scheduled_time=stage.clock.now, param=["Bob"]))
    shop.scheduler.schedule_many([TaskParam(work_id="remind", scheduled_time=stage.clock.now, param=["Cleo"])])
    shop.scheduler.after(DAY, shop.remind, "Dan")
    assert [who for who, _, _ in shop.told] == ["Ann", "Bob", "Cleo"]


def test_inline_work_that_schedules_work_is_followed_to_its_end(stage: Stage, shop: Shop) -> None:
    stage.inline = True
    shop.scheduler.after(SOON, shop.chain, 250)
    assert shop.told == list(range(250, -1, -1))


def test_inline_the_error_of_the_work_is_raised_where_it_was_scheduled(stage: Stage, shop: Shop) -> None:
    stage.inline = True
    with pytest.raises(ConnectionError, match="mail server"):
        shop.scheduler.after(SOON, shop.fail)
    with pytest.raises(ConnectionError):
        stage.clock.advance(days=1)
    stage.inline = False
    stage.clock.advance(days=30)
    assert len(shop.told) == 3


# -- A recorder


def test_a_recorder_calls_no_work_and_notes_what_would_have_been_called(stage: Stage, shop: Shop) -> None:
    stage.recorder = recorder = Recorder()
    recorder.answer("remind", "a postcard")
    start = stage.clock.now
    task = shop.scheduler.after(DAY, shop.remind.options(queue="default", priority=2), "Ann", text="Milk!")
    assert task.result() == "a postcard"
    (run,) = recorder.runs
    assert (run.work_id, run.args, run.kwargs) == ("remind", ("Ann",), {"text": "Milk!"})
    assert (run.started_at, run.attempt, run.task_id) == (start + DAY, 1, task.id)
    assert shop.told == []


def test_a_recorder_that_raises_is_retried_as_work_would_be(stage: Stage, shop: Shop) -> None:
    stage.recorder = recorder = Recorder()
    recorder.answer("fail", ConnectionError("still down"))
    task = shop.scheduler.after(SOON, shop.fail)
    stage.clock.advance(days=30)
    assert [run.attempt for run in recorder.of("fail")] == [1, 2, 3]
    assert recorder.of("remind") == []
    assert "still down" in (task.info().error or "")


def test_a_recorder_takes_the_place_of_async_work_too(stage: Stage) -> None:
    scheduler = Scheduler("memory://")

    @scheduler.work
    async def fetch(url: str) -> str:
        return url

    stage.take(scheduler)
    stage.recorder = Recorder()
    stage.recorder.answer("fetch", "page")
    assert scheduler.after(SOON, fetch, "https://example.org/").result() == "page"


def test_arguments_that_cannot_be_read_are_held_before_a_recorder_too(stage: Stage, shop: Shop) -> None:
    stage.recorder = Recorder()
    scheduler = stage.take(Scheduler("memory://", works=(works := FunctionRegistry())))
    task = scheduler.schedule(TaskParam(work_id="later", scheduled_time=stage.clock.now, param=["no number"]))
    works.work(id="later")(_number)
    stage.clock.advance(days=1)
    assert task.info().hold == "undecodable"
    assert stage.recorder.runs == []


def _number(number: int) -> int:
    return number


# -- Async code


def test_async_code_is_on_the_stage_from_a_plain_test(stage: Stage) -> None:
    scheduler, told = _async_shop()
    stage.take(scheduler)

    async def request() -> str:
        async with scheduler:
            return (await scheduler.after(DAY, told.work, "Ann")).id

    task_id = asyncio.run(request())
    stage.clock.advance(days=1)
    assert told.whom == []
    stage.clock.advance(seconds=5)
    assert told.whom == ["Ann"]
    assert asyncio.run(_state(scheduler, task_id)) is TaskState.DONE


async def test_time_can_be_let_pass_in_an_async_test(stage: Stage) -> None:
    scheduler, told = _async_shop()
    stage.take(scheduler)
    task = await scheduler.after(DAY, told.work, "Ann")
    stage.clock.advance(days=1, seconds=5)
    assert told.whom == ["Ann"]
    other = await scheduler.after(DAY, told.work, "Bob")
    assert await other.result() == "Bob"
    assert [info.state async for info in scheduler.tasks()] == [TaskState.DONE] * 2
    assert (await task.info()).state is TaskState.DONE
    stage.inline = True
    await scheduler.schedule_many([TaskParam(work_id="tell", scheduled_time=stage.clock.now, param=["Cleo"])])
    await scheduler.schedule(TaskParam(work_id="tell", scheduled_time=stage.clock.now, param=["Dan"]))
    assert told.whom == ["Ann", "Bob", "Cleo", "Dan"]
    assert await scheduler.stop()


async def _state(scheduler: AsyncScheduler, task_id: str) -> TaskState:
    return (await scheduler.get(task_id)).state


class _Told:
    def __init__(self) -> None:
        self.whom: list[str] = []
        self.work: Any = None


def _async_shop() -> tuple[AsyncScheduler, _Told]:
    scheduler, told = AsyncScheduler("memory://"), _Told()

    @scheduler.work
    async def tell(who: str) -> str:
        if who == "Ann":
            await asyncio.sleep(5)
        told.whom.append(who)
        return who

    told.work = tell.options(timeout=timedelta(minutes=1))
    return scheduler, told


# -- Expectations


def test_what_waits_is_found_by_whatever_way_its_arguments_were_passed(stage: Stage, shop: Shop) -> None:
    task = shop.scheduler.after(DAY, shop.remind.options(priority=2), "Ann")
    info = assert_scheduled(shop.scheduler, shop.remind, who="Ann", text="Tea!")
    assert (info.id, info.priority, info.scheduled_time) == (task.id, Priority.HIGH, stage.clock.now + DAY)


def test_what_does_not_wait_is_told_with_what_does(stage: Stage, shop: Shop) -> None:
    when = datetime(2030, 1, 1, tzinfo=UTC)
    shop.scheduler.at(when, shop.remind, "Bob", text="Milk!")
    with pytest.raises(AssertionError) as refused:
        assert_scheduled(shop.scheduler, shop.remind, "Ann")
    assert str(refused.value) == (
        "no tasks wait for remind('Ann'); these wait:\n  remind('Bob', text='Milk!') at 2030-01-01T00:00:00+00:00"
    )
    with pytest.raises(AssertionError, match="1 tasks wait; these wait"):
        assert_not_scheduled(shop.scheduler, shop.remind)
    assert_not_scheduled(shop.scheduler, shop.fail)
    with pytest.raises(AssertionError, match=r"no tasks wait for fail\(\); these wait:\n  remind"):
        assert_scheduled(shop.scheduler, shop.fail)


def test_one_too_many_is_told_too_and_so_is_nothing(shop: Shop) -> None:
    with pytest.raises(AssertionError, match="nothing waits"):
        assert_scheduled(shop.scheduler, shop.fail)
    assert_not_scheduled(shop.scheduler)
    for _ in range(2):
        shop.scheduler.after(DAY, shop.fail)
    with pytest.raises(AssertionError, match=r"2 tasks wait for fail\(\)"):
        assert_scheduled(shop.scheduler, shop.fail)


def test_what_is_over_does_not_wait_and_the_earliest_comes_first(stage: Stage, shop: Shop) -> None:
    shop.scheduler.after(2 * DAY, shop.remind, "Bob")
    shop.scheduler.after(DAY, shop.fail)
    shop.scheduler.after(SOON, shop.remind, "Ann")
    stage.clock.advance()
    assert [info.work_id for info in scheduled(shop.scheduler)] == ["fail", "remind"]
    assert len(scheduled(shop.scheduler, shop.remind)) == 1


def test_work_of_the_seeds_form_and_a_store_on_disk_are_looked_at_as_well(tmp_path: Path) -> None:
    def seeded(_cancelled: Any, _stopping: Any, _when: Any, param: dict[str, int]) -> None:
        pass

    works = FunctionRegistry()
    work = works.add(param_work(seeded))
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", works=works)
    scheduler.after(DAY, work, {"a": 1})
    assert assert_scheduled(scheduler, work, {"a": 1}).work_id == "seeded"
    with pytest.raises(AssertionError):
        assert_scheduled(scheduler, work, {"a": 2})
