"""A year of a thousand schedules over both clock changes, with outages, pauses and edits: the ledger is complete."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from kokugen.ids import IdSource
from kokugen.recurrence.calendar_interval import CalendarInterval
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import Every
from kokugen.recurrence.spec import dump_spec, load_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.schedule_rows import Ledger, LedgerQuery, Reason, ScheduleQuery, ScheduleRow
from kokugen.schedules.book import Book
from kokugen.schedules.definitions import Definitions
from kokugen.schedules.edits import Draft
from kokugen.schedules.materialiser import Materialiser
from kokugen.settings import Settings
from kokugen.task import TaskState
from kokugen.testing import VirtualClock, run_virtual

SCHEDULES = int(os.environ.get("KOKUGEN_YEAR_OF", "1000"))
START = datetime(2026, 1, 15, tzinfo=UTC)
DAY_S = 86_400.0
DAYS = 365
FOREVER = 2**53
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tokyo", "UTC")
WORK = '{"work_id":"w"}'
NOT_MADE = {Reason.COALESCED, Reason.MISSED, Reason.TOO_OLD, Reason.PAUSED}


def trigger_of(number: int, random: Random) -> Trigger:
    """Return one of the common kinds of trigger, in one of the zones."""
    zone = ZONES[number % len(ZONES)]
    hour = random.randrange(4)  # in these clocks change
    kinds: tuple[Trigger, ...] = (
        Cron(f"30 {hour} * * sun,{random.randrange(1, 7)}", tz=zone),
        Cron(f"0 {hour} * * sun", tz=zone, gap="skip", fold="both"),
        Cron(f"30 {hour} L * *", tz=zone),
        CalendarInterval(START.date(), days=1 + random.randrange(9), tz=zone),
        Every(timedelta(hours=12 * random.randrange(1, 20)), start=START),
    )
    return kinds[number // len(ZONES) % len(kinds)]


class Year:
    """A store, a few nodes and people, over a year."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.random = Random(seed)
        self.store = MemoryRepository(clock=clock)
        self.definitions = Definitions()
        self.book = Book(self.store, self.definitions, clock=clock, ids=IdSource(clock, self.random))
        self.node: asyncio.Task[None] | None = None
        self.start = clock.wall_us()

    async def declare(self) -> None:
        for number in range(SCHEDULES):
            spec = dump_spec(trigger_of(number, self.random))
            catchup = self.random.choice(("skip", "one", "all"))
            policy = f'{{"catchup":"{catchup}","window_us":{self.random.choice((1, 3)) * 86_400_000_000}}}'
            await self.book.put(Draft(name=f"n{number:04}", spec=spec, policy=policy, template=WORK, overlap="allow"))

    def begin(self) -> None:
        node = Materialiser(
            self.store, self.definitions, clock=self.clock, random=self.random, settings=Settings(poll_s=14_400)
        )
        self.node = asyncio.create_task(node.run())

    async def end(self) -> None:
        assert self.node is not None
        self.node.cancel()
        await asyncio.gather(self.node, return_exceptions=True)

    async def live(self) -> None:
        """Let the year pass: now and then no node is there, and people pause, resume and edit some schedules."""
        left_s = DAYS * DAY_S
        self.begin()
        while left_s > 0:
            up_s = min(left_s, self.random.uniform(1, 20) * DAY_S)
            await asyncio.sleep(up_s)
            await self.meddle()
            down_s = min(left_s - up_s, self.random.choice((0.0, 300.0, 7200.0, 5 * DAY_S)))
            if down_s > 0:
                await self.end()
                await asyncio.sleep(down_s)
                self.begin()
            left_s -= up_s + down_s
        for number in range(SCHEDULES):
            await self.book.resume(f"n{number:04}")
        await asyncio.sleep(28_800)
        await self.end()

    async def meddle(self) -> None:
        for number in self.random.sample(range(SCHEDULES), max(1, SCHEDULES // 50)):
            name = f"n{number:04}"
            act = self.random.randrange(4)
            if act == 0:
                until = self.random.choice((None, self.clock.wall_us() + round(self.random.uniform(0, 9e11))))
                await self.book.pause(name, until=until)
            elif act == 1:
                await self.book.resume(name)
            elif act == 2:
                await self.book.edit(replaced(await self.book.get(name), dump_spec(trigger_of(number, self.random))))
            else:
                await self.book.edit(replaced(await self.book.get(name), None))


def replaced(row: ScheduleRow, spec: str | None) -> Draft:
    """Return a schedule's draft with another trigger, or with another policy."""
    draft = Draft.of(row)
    fields = {name: getattr(draft, name) for name in Draft.__struct_fields__}
    about = {"spec": spec} if spec is not None else {"policy": '{"catchup":"all","window_us":172800000000}'}
    return Draft(**(fields | about))


def decided_of(row: ScheduleRow, trigger: Trigger, ledger: Ledger) -> Iterator[int]:
    """Yield each time of the current definition that the ledger has, as often as it does; and check its counts."""
    for entry in ledger.rows:
        if entry.gen != row.gen:
            continue
        times = list(trigger.walk_us(entry.first, entry.last + 1))
        assert entry.count == len(times), (row.name, entry)
        assert times[0] == entry.first, (row.name, entry)
        assert times[-1] == entry.last, (row.name, entry)
        yield from times


def check(row: ScheduleRow, ledger: Ledger, now: int) -> Counter[str]:
    """Check one schedule against the enumeration of its trigger; return how many times had each reason."""
    trigger = load_spec(row.spec)
    decided = Counter(decided_of(row, trigger, ledger))
    since = min((entry.first for entry in ledger.rows if entry.gen == row.gen), default=row.decided + 1)
    truth = set(trigger.walk_us(since, row.decided + 1))
    assert set(decided) == truth, row.name
    following = trigger.next_us(row.decided)
    assert following is None or following > now, row.name
    taken_back = Counter(end.nominal for end in ledger.ends if end.state is TaskState.INITIALIZED)
    twice = {at: times - 1 for at, times in decided.items() if times > 1}
    assert all(taken_back[at] >= more for at, more in twice.items()), "decided anew, but not taken back"
    made = [at for entry in ledger.rows if entry.reason == Reason.MADE for at in (entry.first, entry.last)]
    known = {task.nominal for task in ledger.tasks} | {end.nominal for end in ledger.ends}
    assert set(made) <= known, "a task for each that was made"
    told = Counter[str]()
    for entry in ledger.rows:
        told[entry.reason] += entry.count or 0
    return told


@pytest.mark.once
def test_a_year_of_a_thousand_schedules_is_accounted_for() -> None:
    told: Counter[str] = Counter()

    async def main(clock: VirtualClock) -> None:
        year = Year(clock, seed=1)
        await year.declare()
        await year.live()
        rows = await year.book.rows(ScheduleQuery(limit=1000))
        assert len(rows) == SCHEDULES
        for row in rows:
            query = LedgerQuery(schedule_id=row.id, first=-FOREVER, last=FOREVER)
            told.update(check(row, await year.store.ledger(query), clock.wall_us()))
            assert row.runs >= 0

    run_virtual(main, start=START)
    assert told.keys() == NOT_MADE | {Reason.MADE}
    assert told[Reason.MADE] > 20 * SCHEDULES
