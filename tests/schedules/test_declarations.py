"""Schedules that code declares: put, kept during deploys, removed after them, and never another's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from kokugen.async_scheduler import AsyncScheduler
from kokugen.errors import RepositoryError
from kokugen.repository.memory import MemoryRepository
from kokugen.schedules.declarations import ROUND_S, SILENT_MAX
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual

HOUR = timedelta(hours=1)
LONG_S = 2 * SILENT_MAX * ROUND_S


class Town:
    """A store with services that come and go."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.store = MemoryRepository(clock=clock)
        self.client = VirtualScheduler(clock)
        self.client._front.parts._repository = self.store

    def scheduler(self, *names: str, owner: str | None, every: timedelta = HOUR) -> AsyncScheduler:
        """Return a scheduler of a service that declares these schedules."""
        scheduler = AsyncScheduler(repository=self.store, clock=self.clock, owner=owner)

        @scheduler.work
        def work() -> None: ...

        for name in names:
            scheduler.every(every, name=name)(work)
        return scheduler

    def start(self, *names: str, owner: str | None = "shop", every: timedelta = HOUR) -> asyncio.Task[None]:
        """Start a process of a service that declares these schedules."""
        return self.run(self.scheduler(*names, owner=owner, every=every))

    @staticmethod
    def run(scheduler: AsyncScheduler) -> asyncio.Task[None]:
        return asyncio.create_task(scheduler._front.agenda.declarations.run())

    async def names(self) -> list[str]:
        return [info.name for info in await self.client.schedules()]

    async def audit(self, name: str) -> list[tuple[str, str | None, str | None]]:
        return [(one.what, one.who, one.why) for one in await self.client.schedule_audit(name)]


Story = Callable[[Town], Coroutine[Any, Any, None]]


def play(story: Story) -> None:
    async def main(clock: VirtualClock) -> None:
        await story(Town(clock))

    run_virtual(main)


def test_what_a_deploy_declares_no_more_is_removed_and_that_is_written_down() -> None:
    async def story(town: Town) -> None:
        old = town.start("a", "b")
        await asyncio.sleep(LONG_S)
        old.cancel()
        new = town.start("a", "c")
        await asyncio.sleep(ROUND_S * (SILENT_MAX - 2))
        assert await town.names() == ["a", "b", "c"], "not before it is certain"
        await asyncio.sleep(ROUND_S * 4)
        assert await town.names() == ["a", "c"]
        assert (await town.audit("b"))[0] == ("remove", "shop", "no longer declared")
        await asyncio.sleep(LONG_S)
        assert await town.names() == ["a", "c"]
        new.cancel()

    play(story)


def test_the_audit_says_whose_code_put_a_schedule_or_who_was_named() -> None:
    async def story(town: Town) -> None:
        scheduler = town.scheduler("a", owner="shop")

        @scheduler.every(HOUR, name="b", by="ann", why="ticket 12")
        def work_of_b() -> None: ...

        @scheduler.work
        def work_of_c() -> None: ...

        await scheduler.every(HOUR, work_of_c.options(name="c"))
        process = town.run(scheduler)
        await asyncio.sleep(1)
        process.cancel()
        assert await town.audit("a") == [("create", "shop", None)]
        assert await town.audit("b") == [("create", "ann", "ticket 12")]
        assert await town.audit("c") == [("create", "shop", None)]

    play(story)


def test_two_versions_side_by_side_keep_each_others_schedules() -> None:
    async def story(town: Town) -> None:
        first, second, new = town.start("a", "b"), town.start("a", "b"), town.start("a", "c")
        await asyncio.sleep(10 * LONG_S)
        assert await town.names() == ["a", "b", "c"]
        assert [await town.audit(name) for name in "abc"] == 3 * [[("create", "shop", None)]]
        first.cancel()
        await asyncio.sleep(LONG_S)
        assert await town.names() == ["a", "b", "c"], "one of the old version is left"
        second.cancel()
        await asyncio.sleep(LONG_S)
        assert await town.names() == ["a", "c"]
        new.cancel()

    play(story)


def test_many_processes_say_little_more_than_one() -> None:
    async def story(town: Town) -> None:
        running = []
        for _ in range(10):
            running.append(town.start("a"))
            await asyncio.sleep(ROUND_S / 10)
        before = (await town.client.schedule_of("a")).modified_at
        rows = await town.client._front.agenda.book.get("a")
        await asyncio.sleep(100 * ROUND_S)
        after = await town.client._front.agenda.book.get("a")
        assert 40 <= after.declared - rows.declared <= 110
        assert (await town.client.schedule_of("a")).modified_at > before
        for one in running:
            one.cancel()

    play(story)


def test_services_with_owners_of_their_own_never_remove_each_others() -> None:
    async def story(town: Town) -> None:
        shop, bank = town.start("a", owner="shop"), town.start("b", owner="bank")
        await asyncio.sleep(LONG_S)
        bank.cancel()
        await asyncio.sleep(100 * LONG_S)
        assert await town.names() == ["a", "b"]
        shop.cancel()

    play(story)


def test_without_an_owner_nothing_is_removed() -> None:
    async def story(town: Town) -> None:
        town.start("a", "b", owner=None).cancel()
        first = town.start("a", "b", owner=None)
        await asyncio.sleep(LONG_S)
        first.cancel()
        second = town.start("a", owner=None)
        await asyncio.sleep(10 * LONG_S)
        assert await town.names() == ["a", "b"]
        second.cancel()

    play(story)


def test_a_service_that_declares_nothing_any_more_leaves_nothing_behind() -> None:
    async def story(town: Town) -> None:
        first = town.start("a")
        await asyncio.sleep(LONG_S)
        first.cancel()
        second = town.start()
        await asyncio.sleep(LONG_S)
        assert await town.names() == []
        second.cancel()

    play(story)


def test_the_name_of_another_owner_is_not_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    async def story(town: Town) -> None:
        shop = town.start("a", owner="shop")
        await asyncio.sleep(1)
        others = [town.start("a", owner="bank", every=2 * HOUR), town.start("a", owner=None, every=2 * HOUR)]
        await asyncio.sleep(LONG_S)
        (info,) = await town.client.schedules()
        assert (info.owner, info.edition) == ("shop", 1)
        told = [one for one in caplog.records if "'shop' declares one of this name" in one.getMessage()]
        assert len(told) == 2
        for one in (shop, *others):
            one.cancel()

    play(story)


def test_an_owner_adopts_what_nobody_is_said_to_own() -> None:
    async def story(town: Town) -> None:
        first = town.start("a", owner=None)
        await asyncio.sleep(1)
        first.cancel()
        second = town.start("a", owner="shop")
        await asyncio.sleep(1)
        assert (await town.client.schedule_of("a")).owner == "shop"
        second.cancel()

    play(story)


def test_code_takes_over_what_was_imported() -> None:
    async def story(town: Town) -> None:
        @town.client.work
        def work() -> None: ...

        await town.client.every("@daily", work.options(name="a", owner="import:celery"))
        town.start("a", owner=None)
        await asyncio.sleep(1)
        assert (await town.client.schedule_of("a")).owner == "code"

    play(story)


def test_a_schedule_that_is_put_at_run_time_stays_its_owners() -> None:
    async def story(town: Town) -> None:
        first = town.start("a", owner="shop")
        await asyncio.sleep(1)

        @town.client.work
        def work() -> None: ...

        info = await town.client.every("@daily", work.options(name="a"))
        assert (info.owner, info.edition) == ("shop", 2)
        first.cancel()

    play(story)


def test_a_process_that_was_cut_off_puts_back_what_was_removed_meanwhile() -> None:
    async def story(town: Town) -> None:
        cut = town.scheduler("a", "b", owner="shop")
        declarations = cut._front.agenda.declarations
        book, silent = declarations._book, town.run(cut)
        await asyncio.sleep(LONG_S)

        def refuse() -> Any:
            raise RepositoryError("cut off")

        declarations._book = refuse
        new = town.start("a")
        await asyncio.sleep(LONG_S)
        assert await town.names() == ["a"]
        declarations._book = book
        await asyncio.sleep(2 * ROUND_S)
        assert await town.names() == ["a", "b"]
        assert [what for what, _, _ in await town.audit("b")] == ["create", "remove", "create"]
        assert len({one.schedule_id for one in await town.client.schedule_audit("b")}) == 1, "it goes on"
        for one in (silent, new):
            one.cancel()

    play(story)


def test_what_people_remove_stays_away_until_a_process_starts_that_declares_it() -> None:
    async def story(town: Town) -> None:
        first = town.start("a")
        await asyncio.sleep(LONG_S)
        await town.client.remove("a", by="ann", why="no longer wanted")
        await asyncio.sleep(LONG_S)
        assert await town.names() == []
        second = town.start("a")
        await asyncio.sleep(1)
        assert await town.names() == ["a"]
        for one in (first, second):
            one.cancel()

    play(story)


def test_a_schedule_declared_in_the_very_moment_is_not_removed() -> None:
    async def story(town: Town) -> None:
        first = town.start("a")
        await asyncio.sleep(1)
        book = town.client._front.agenda.book
        seen = await book.get("a")
        await book.declare_all([seen])
        assert (await book.withdraw(seen, "no longer declared")).declared == seen.declared + 1
        assert await town.names() == ["a"]
        first.cancel()

    play(story)
