"""A task that names a place runs there or waits: nodes claim what they offer, and what waits hinders nobody."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kokugen import FunctionRegistry, Processes, Scheduler, TaskParam, Work
from kokugen.errors import OptionError, SchedulerStateError, WaitTimeoutError
from kokugen.registry.protocol import WorkRegistry
from kokugen.run import current_run
from kokugen.task import TaskState
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual
from tests.engine import placed

FAR, NEAR = Processes(name="far"), Processes(name="near", workers=1)
SOON, MINUTE = timedelta(0), timedelta(minutes=1)


class Unlisted:
    """A registry that cannot say what it has."""

    def __init__(self, works: FunctionRegistry) -> None:
        self._works = works

    def load(self, work_id: str) -> Work[..., Any] | None:
        return self._works.load(work_id)


def registry() -> FunctionRegistry:
    works = FunctionRegistry()

    @works.work
    def plain() -> str:
        return current_run().queue

    @works.work(on="far")
    def distant() -> str:
        return current_run().queue

    return works


def virtually(
    main: Callable[[VirtualScheduler], Coroutine[Any, Any, None]], works: WorkRegistry | None = None, **about: Any
) -> None:
    async def whole(clock: VirtualClock) -> None:
        async with VirtualScheduler(clock, works=works or registry(), **about) as scheduler:
            await main(scheduler)

    run_virtual(whole)


def asked(scheduler: VirtualScheduler, work_id: str, **about: Any) -> TaskParam:
    return TaskParam(work_id=work_id, scheduled_time=scheduler._front.parts.clock.now, **about)  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrap", [lambda works: works, Unlisted], ids=["listed", "unlisted"])
def test_a_task_runs_at_the_place_that_it_or_its_work_names(wrap: Callable[[FunctionRegistry], WorkRegistry]) -> None:
    async def main(scheduler: VirtualScheduler) -> None:
        for work_id, on, queue in (
            ("plain", None, "default"),
            ("plain", "near", "default@near"),
            ("distant", None, "default@far"),
            ("distant", "near", "default@near"),
        ):
            task = await scheduler.schedule(asked(scheduler, work_id, on=on))
            info = await scheduler.wait(task.id, MINUTE)
            assert (info.state, info.result, info.queue) == (TaskState.DONE, f'"{queue}"', queue)
            assert info.on == queue.partition("@")[2] or info.on is None

    virtually(main, wrap(registry()), places=[FAR, NEAR])


@pytest.mark.parametrize("wrap", [lambda works: works, Unlisted], ids=["listed", "unlisted"])
def test_a_task_waits_where_no_node_offers_its_place(wrap: Callable[[FunctionRegistry], WorkRegistry]) -> None:
    async def main(scheduler: VirtualScheduler) -> None:
        waiting = [
            await scheduler.schedule(asked(scheduler, work_id, on=on))
            for work_id, on in (("plain", "elsewhere"), ("distant", None))
        ]
        done = await scheduler.schedule(asked(scheduler, "plain"))
        assert (await scheduler.wait(done.id, MINUTE)).state is TaskState.DONE
        for task in waiting:
            with pytest.raises(WaitTimeoutError):
                await scheduler.wait(task.id, MINUTE)
            info = await scheduler.get(task.id)
            assert (info.state, info.attempt) == (TaskState.INITIALIZED, 0)

    virtually(main, wrap(registry()), places=[NEAR])


@pytest.mark.parametrize("wrap", [lambda works: works, Unlisted], ids=["listed", "unlisted"])
def test_what_was_scheduled_without_the_code_runs_where_its_work_is_declared_to(
    wrap: Callable[[FunctionRegistry], WorkRegistry],
) -> None:
    works = FunctionRegistry()

    async def main(scheduler: VirtualScheduler) -> None:
        ran: list[str] = []
        task = await scheduler.schedule(asked(scheduler, "later"))
        works.work(id="later", on="far")(lambda: ran.append("far"))
        with pytest.raises(WaitTimeoutError):
            await scheduler.wait(task.id, MINUTE)
        assert ran == []

    virtually(main, wrap(works), places=[NEAR])

    async def offered(scheduler: VirtualScheduler) -> None:
        task = await scheduler.schedule(asked(scheduler, "new"))
        works.work(id="new", on="far")(lambda: "ran")
        assert (await scheduler.wait(task.id, MINUTE)).result == '"ran"'

    virtually(offered, wrap(works), places=[FAR])


def test_a_full_place_keeps_no_other_waiting() -> None:
    works = registry()

    @works.work(on="near")
    async def stay() -> None:
        await current_run().cancelled.wait_async()

    async def main(scheduler: VirtualScheduler) -> None:
        stuck = [await scheduler.after(SOON, stay) for _ in range(500)]
        done = await scheduler.schedule(asked(scheduler, "plain"))
        assert (await scheduler.wait(done.id, timedelta(seconds=1))).state is TaskState.DONE
        await scheduler.cancel(*(task.id for task in stuck))

    virtually(main, works, places=[NEAR])


@pytest.mark.parametrize("on", ["threads", "asyncio", "no name", "a@b", "", 7])
def test_a_place_that_cannot_be_is_refused(on: Any) -> None:
    work = registry().load("plain")
    assert work is not None
    with pytest.raises(OptionError, match=r"on=|place"):
        work.options(on=on)


@pytest.mark.parametrize("places", [[FAR, FAR], ["far"], [Processes]], ids=["twice", "text", "class"])
def test_places_that_cannot_be_are_refused(places: Any) -> None:
    with pytest.raises(OptionError, match="place"):
        Scheduler("memory://", places=places)


def test_work_runs_in_processes_of_the_node_that_offers_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    with Scheduler(url, works=placed.works, places=[Processes(workers=1)]) as scheduler:
        here, there = scheduler.after(SOON, placed.pid), scheduler.after(SOON, placed.pid.options(on="processes"))
        died, killed = scheduler.after(SOON, placed.die), scheduler.after(SOON, placed.go_on)
        assert here.result(MINUTE) != there.result(MINUTE)
        assert "exited with 7" in (died.wait(MINUTE).error or "")
        assert killed.wait(MINUTE).reason == "timeout"
        assert scheduler.after(SOON, placed.pid.options(on="processes")).result(MINUTE) > 0


def test_async_work_is_told_that_processes_are_not_for_it(tmp_path: Path) -> None:
    with Scheduler("memory://", works=placed.works, places=[Processes(workers=1)]) as scheduler:
        info = scheduler.after(SOON, placed.nap.options(on="processes")).wait(MINUTE)
        assert info.state is TaskState.FAILED
        assert "runs sync work" in (info.error or "")


def test_a_process_that_imports_the_program_starts_no_scheduler_there(tmp_path: Path) -> None:
    with Scheduler("memory://", works=placed.works, places=[Processes(workers=1)]) as scheduler:
        info = scheduler.after(SOON, placed.start_another.options(on="processes")).wait(MINUTE)
        assert SchedulerStateError.__name__ in (info.error or "")
        assert "__main__" in (info.error or "")
