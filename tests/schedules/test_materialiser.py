"""Several nodes without a leader over a store that fails: every nominal time once, and every one accounted for."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from kokugen.clock import SECOND_US
from kokugen.ids import IdSource, occurrence_id
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import Every
from kokugen.recurrence.spec import dump_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import LedgerQuery, Reason, ScheduleQuery
from kokugen.schedules.book import Book
from kokugen.schedules.definitions import Definitions
from kokugen.schedules.edits import Draft
from kokugen.schedules.materialiser import AHEAD_S, Materialiser
from kokugen.settings import Settings
from kokugen.task import TaskState
from kokugen.testing import FaultyRepository, RandomFaults, VirtualClock, run_virtual

FOREVER = 2**53
HOUR_US = 3600 * SECOND_US
TRIGGERS: dict[str, Trigger] = {
    "each ten minutes": Every(timedelta(minutes=10)),
    "each hour": Cron("0 * * * *", tz="Europe/Berlin"),
    "odd": Every(timedelta(seconds=1117)),
    "nightly": Cron("30 2 * * *", tz="Europe/Berlin"),
}
SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)


class World:
    """A store, and nodes that come and go."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.random = Random(seed)
        self.store = MemoryRepository(clock=clock)
        self.nodes: list[asyncio.Task[None]] = []
        self.start = clock.wall_us()
        self.book = Book(self.store, Definitions(), clock=clock, ids=IdSource(clock, self.random))

    def join(self) -> None:
        """Start a node whose way to the store is unreliable."""
        wire = FaultyRepository(self.store, RandomFaults(Random(self.random.random()), refused=0.2, unanswered=0.2))
        assert isinstance(wire, ScheduleRepository)
        node = Materialiser(
            wire, Definitions(), clock=self.clock, random=Random(self.random.random()), settings=Settings(poll_s=300)
        )
        self.nodes.append(asyncio.create_task(node.run()))

    async def lose(self) -> None:
        """End a node wherever it is."""
        node = self.nodes.pop(self.random.randrange(len(self.nodes)))
        node.cancel()
        await asyncio.wait([node])

    async def live(self, hours: int) -> None:
        """Let nodes come and go, and people pause and resume, for some hours; for some of them there is no node."""
        for _ in range(hours * 4):
            await asyncio.sleep(self.random.randrange(60, 1800))
            name = self.random.choice(list(TRIGGERS))
            match self.random.randrange(6):
                case 0 if self.nodes:
                    await self.lose()
                case 1 | 2 if len(self.nodes) < 4:
                    self.join()
                case 3:
                    await self.book.pause(name)
                case 4:
                    await self.book.resume(name)

    async def check(self, name: str, trigger: Trigger) -> None:
        """Compare what became of a schedule with the times of its trigger."""
        row = await self.book.get(name)
        found = await self.store.ledger(LedgerQuery(schedule_id=row.id, first=-FOREVER, last=FOREVER))
        taken_back = [end.nominal for end in found.ends if end.state is TaskState.INITIALIZED]
        decided = sorted(at for entry in found.rows for at in trigger.walk_us(entry.first, entry.last + 1))
        for at in taken_back:
            decided.remove(at)
        assert decided == list(trigger.walk_us(self.start + 1, row.decided + 1))
        made = sorted(
            at
            for entry in found.rows
            if entry.reason == Reason.MADE
            for at in trigger.walk_us(entry.first, entry.last + 1)
        )
        for at in taken_back:
            made.remove(at)
        assert [task.nominal for task in found.tasks] == made
        assert [task.id for task in found.tasks] == [occurrence_id(row.id, at) for at in made]
        assert row.runs == len(made)


async def play(clock: VirtualClock, seed: int) -> None:
    world = World(clock, seed)
    for name, trigger in TRIGGERS.items():
        await world.book.put(Draft(name=name, spec=dump_spec(trigger), template='{"work_id":"w"}'))
    world.join()
    await world.live(16)
    for name in TRIGGERS:
        await world.book.resume(name)
    world.join()
    await asyncio.sleep(1800)
    for name, trigger in TRIGGERS.items():
        await world.check(name, trigger)
        row = await world.book.get(name)
        assert row.next_at is not None
        assert row.next_at > clock.wall_us(), "a node was there, and decided"
    while world.nodes:
        await world.lose()


@pytest.mark.parametrize("seed", range(8))
def test_nodes_that_come_and_go_over_a_failing_store_make_each_time_once(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "kokugen")
    run_virtual(lambda clock: play(clock, seed), start=SPRING)


def test_occurrences_are_made_ahead_of_their_times_and_never_late() -> None:
    async def main(clock: VirtualClock) -> None:
        world = World(clock, 1)
        node = Materialiser(world.store, Definitions(), clock=clock, random=Random(1), settings=Settings(poll_s=3600))
        running = asyncio.create_task(node.run())
        await asyncio.sleep(0)
        trigger = TRIGGERS["odd"]
        made: list[tuple[int, int]] = []
        change = world.store.change_schedules

        def note(changes):  # type: ignore[no-untyped-def] # as the method that it stands in for
            made.extend((task.nominal, clock.wall_us()) for one in changes for task in one.tasks)
            return change(changes)

        world.store.change_schedules = note  # type: ignore[method-assign] # to listen
        await world.book.put(Draft(name="odd", spec=dump_spec(trigger), template='{"work_id":"w"}'))
        node.hint()
        await asyncio.sleep(86_400)
        running.cancel()
        assert len(made) > 70
        assert all(AHEAD_S - 1.1 <= (nominal - at) / SECOND_US <= AHEAD_S for nominal, at in made)

    run_virtual(main)


def test_a_storm_of_schedules_is_decided_in_parts() -> None:
    async def main(clock: VirtualClock) -> None:
        world = World(clock, 1)
        spec = dump_spec(Every(timedelta(hours=1), start=SPRING))
        for number in range(1000):
            await world.book.put(
                Draft(name=f"n{number}", spec=spec, template='{"work_id":"w"}', policy='{"catchup":"all"}')
            )
        await asyncio.sleep(5.5 * 3600)
        sizes: list[int] = []
        change = world.store.change_schedules

        def note(changes):  # type: ignore[no-untyped-def] # as the method that it stands in for
            sizes.append(sum(len(one.tasks) for one in changes))
            return change(changes)

        world.store.change_schedules = note  # type: ignore[method-assign] # to listen
        node = Materialiser(world.store, Definitions(), clock=clock, random=Random(1), settings=Settings())
        await node.look()
        assert sum(sizes) == 5000
        assert max(sizes) <= 1000
        rows = await world.store.schedules(ScheduleQuery(limit=1000))
        assert {row.runs for row in rows} == {5}

    run_virtual(main, start=SPRING)


class FastClock:
    """A wall clock that is an hour ahead."""

    def __init__(self, right: VirtualClock) -> None:
        self.boot_s = right.boot_s
        self._right = right

    def wall_us(self) -> int:
        return self._right.wall_us() + HOUR_US


def test_a_node_whose_clock_is_ahead_takes_nothing_for_missed_that_has_not_come() -> None:
    async def ahead() -> int:
        return HOUR_US

    async def main(clock: VirtualClock) -> None:
        world = World(clock, 1)
        spec = dump_spec(TRIGGERS["each ten minutes"])
        await world.book.put(Draft(name="one", spec=spec, template='{"work_id":"w"}', policy='{"catchup":"skip"}'))
        node = Materialiser(
            world.store,
            Definitions(),
            clock=FastClock(clock),
            random=Random(1),
            settings=Settings(),
            skew_us=ahead,
        )
        await asyncio.sleep(1)
        await node.look()
        row = await world.book.get("one")
        assert (row.skipped, row.decided <= clock.wall_us() + round(AHEAD_S * SECOND_US)) == (0, True)

    run_virtual(main, start=SPRING)
