"""What work says of its progress: stored soon, but seldom, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from kokugen import Scheduler, TaskState, current_run
from kokugen.errors import OptionError, RepositoryUnavailableError
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import Report
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual

SOON = timedelta(0)
WITHIN = timedelta(seconds=30)
PATIENCE_S = 30.0


def virtually(main: Callable[[VirtualScheduler], Coroutine[Any, Any, None]]) -> None:
    async def whole(clock: VirtualClock) -> None:
        async with VirtualScheduler(clock) as scheduler:
            await main(scheduler)

    run_virtual(whole)


def told(monkeypatch: pytest.MonkeyPatch, *, failing: bool = False) -> list[list[Report]]:
    """Return what the repository in memory is told from now on."""
    calls: list[list[Report]] = []
    real = MemoryRepository.report

    def report(repository: MemoryRepository, rows: Sequence[Report]) -> Reply[None]:
        calls.append(list(rows))
        return Reply.failed(RepositoryUnavailableError("it is away")) if failing else real(repository, rows)

    monkeypatch.setattr(MemoryRepository, "report", report)
    return calls


def test_progress_is_seen_while_the_work_goes_on_and_kept_after_it() -> None:
    async def main(scheduler: VirtualScheduler) -> None:
        @scheduler.work
        async def load(rows: int) -> None:
            for row in range(rows):
                current_run().progress(row / rows, f"row {row}")
                await asyncio.sleep(10)

        task = await scheduler.after(SOON, load, 4)
        seen = []
        for _ in range(4):
            await asyncio.sleep(10)
            seen.append(await task.progress())
        assert [one and (one.fraction, one.text) for one in seen] == [
            (0.0, "row 0"),
            (0.25, "row 1"),
            (0.5, "row 2"),
            (0.75, "row 3"),
        ]
        assert (await task.wait()).progress == seen[-1]

    virtually(main)


def test_however_often_it_is_said_the_store_is_told_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = told(monkeypatch)

    async def main(scheduler: VirtualScheduler) -> None:
        @scheduler.work
        async def chatter() -> None:
            for number in range(2000):
                current_run().progress(number / 2000)
                await asyncio.sleep(0.005)

        tasks = [await scheduler.after(SOON, chatter) for _ in range(20)]
        for task in tasks:
            assert (await task.wait()).state is TaskState.DONE

    virtually(main)
    assert 5 <= len(calls) <= 13
    assert max(map(len, calls)) == 20


def test_nothing_is_written_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = told(monkeypatch)

    async def main(scheduler: VirtualScheduler) -> None:
        @scheduler.work
        async def quiet() -> None:
            await asyncio.sleep(30)

        await (await scheduler.after(SOON, quiet)).wait()

    virtually(main)
    assert calls == []


def test_a_store_that_is_away_stops_no_work_and_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = told(monkeypatch, failing=True)

    async def main(scheduler: VirtualScheduler) -> None:
        @scheduler.work
        async def load() -> str:
            for _ in range(3):
                current_run().progress(0.5)
                await asyncio.sleep(5)
            return "ready"

        task = await scheduler.after(SOON, load)
        assert await task.result() == "ready"
        assert (await task.info()).progress is None

    virtually(main)
    assert len(calls) == 3


def test_work_on_a_thread_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Event()
    real = SQLiteRepository.report

    def report(repository: SQLiteRepository, rows: Sequence[Report]) -> Reply[None]:
        reply = real(repository, rows)
        reply.when_done(stored.set)
        return reply

    monkeypatch.setattr(SQLiteRepository, "report", report)
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}")

    @scheduler.work
    def load() -> bool:
        current_run().progress(0.4, "x" * 499 + "\0\udc00y")
        return stored.wait(PATIENCE_S)

    with scheduler:
        task = scheduler.after(SOON, load)
        assert task.result(WITHIN) is True
        progress = task.progress()
    assert progress is not None
    assert (progress.fraction, progress.text) == (0.4, "x" * 499 + "\\0")


@pytest.mark.parametrize("wrong", [{"fraction": 1.1}, {"fraction": -1}, {"fraction": "1"}, {"text": 7}], ids=str)
def test_what_is_no_progress_is_refused(wrong: dict[str, Any]) -> None:
    async def main(scheduler: VirtualScheduler) -> None:
        @scheduler.work
        async def load() -> None:
            with pytest.raises(OptionError):
                current_run().progress(**wrong)
            with pytest.raises(OptionError):
                current_run().progress(float("nan"))

        assert (await (await scheduler.after(SOON, load)).wait()).state is TaskState.DONE

    virtually(main)
