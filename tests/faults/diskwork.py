"""The real engine at work on a disk that fails or loses its power, in virtual time, and what is known of it in the end.

A life is one process from its start until the power goes; the next one finds what was left on the disk. Work writes
down every run, the witness in the file every change of state, and the judge compares both with what was asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TypeVar
from unittest.mock import patch

import apsw

from kokugen import FunctionRegistry, Settings, current_run
from kokugen.clock import SECOND_US, Clock, from_us, to_us
from kokugen.codec import encode_params
from kokugen.errors import KokugenError, RepositoryUnavailableError
from kokugen.repository.rows import CancelRequest, CancelResult, NewTask
from kokugen.repository.sqlite import SQLiteRepository, connection
from kokugen.task import Mode, Params, TaskInfo, TaskQuery, TaskState
from kokugen.testing import VirtualClock, run_virtual
from kokugen.testing.clock import START
from tests.engine.node import Node
from tests.faults import journal
from tests.faults.disk import FAULTS, Disk, OnDisk, quiet
from tests.faults.ground import SqliteGround
from tests.faults.journal import Entry
from tests.faults.judge import Case, Kind, Verdict, judge
from tests.faults.loopstore import LoopSQLite
from tests.faults.powercuts import CHECKPOINT_PAGES, Way, content

PROTOCOL = Settings(ttl_s=6.0, beat_s=1.5, margin_s=1.0, rpc_s=1.0, watch_s=1.0, poll_s=0.5)
CHANGES_MAX = 400
"""How many changes of files come before the power goes, at most."""
LIFE_MAX_S = 60.0
PAUSE_S = 0.4
"""How long a client pauses between two calls, at most."""
LOOK_S = 0.02
FAULT_S = (0.05, 0.5, 3.0, 10.0)
"""How long the disk fails."""
RESUMED_MAX_S = 10.0
STILL_MAX_S = 60.0
"""How long nothing may end, or start, before that is given up: what was lost before runs one by one."""
PAGE = 500
LIVE = TaskQuery(states=frozenset({TaskState.INITIALIZED, TaskState.WORKING}))

T = TypeVar("T")


class Life:
    """One process on the disk: its store, its engine and its work."""

    def __init__(self, number: int, folder: Path, clock: Clock, random: Random, way: Way) -> None:
        self.number = number
        self.disk = Disk(folder, random)
        self.entries: list[Entry] = []
        self.over = False
        self._clock = clock
        library = OnDisk(self.disk, log=way.log, synchronous=way.synchronous)
        self.store = LoopSQLite(folder / "tasks.db", clock=clock, library=library)
        self.node = Node(clock, self.store, self._works(), name=f"life-{number}", settings=PROTOCOL, seed=number)
        self.started = False

    @property
    def now_us(self) -> int:
        return self._clock.wall_us()

    async def start(self) -> None:
        await self.node.start()
        self.started = True

    def _works(self) -> FunctionRegistry:
        works = FunctionRegistry()

        @works.work
        async def step(pause_s: float) -> None:
            self._write(journal.START)
            event = journal.CUT
            try:
                await asyncio.sleep(pause_s)
                event = journal.END
            finally:
                self._write(event)

        return works

    def _write(self, event: str) -> None:
        """Write down what befell a run, unless this process is no more."""
        if self.over or self.disk.off:
            return
        run, now = current_run(), self.now_us
        self.entries.append(Entry(event, run.task_id, run.fence, run.attempt, self.number, now, now * 1000))

    async def end(self) -> None:
        """End at once, as when the power goes."""
        self.over = True
        if self.started:
            await self.node.crash()
        self.store.vanish()
        self.disk.unregister()


class DiskWork:
    """One store and what is asked of it, life after life."""

    def __init__(self, folder: Path, random: Random, way: Way) -> None:
        self.happened: Counter[str] = Counter()
        self.resumed_s: list[float] = []
        """How long after each fault of the disk the next run began."""
        self._folder = folder
        self._random = random
        self._way = way
        self._lives = 0
        self._now_us = to_us(START)
        self._verdicts: list[Verdict] = []
        self._entries: list[Entry] = []
        self.asked: dict[str, int] = {}
        self._adding: list[NewTask] = []
        self._cancelling: str | None = None
        self._cancelled: dict[str, int] = {}
        self._requested: dict[str, int] = {}
        self._killed: dict[int, int] = {}
        self._numbers = 0
        self._asking = True
        self._make()

    def _make(self) -> None:
        self._here.mkdir(mode=0o700)
        disk = Disk(self._here, self._random)
        store = SQLiteRepository(self._here / "tasks.db", library=OnDisk(disk, log=self._way.log))
        store.open()
        store.close()
        disk.unregister()
        SqliteGround(self._here).call_witness()

    @property
    def _here(self) -> Path:
        return self._folder / str(self._lives)

    # -- What happens

    def cut_power(self, number: int) -> None:
        """Let so many processes live until the power goes, and then one until all is over."""
        for _ in range(number):
            self._live(self._until_cut)
            if self._verdicts:
                return
        self._live(self._until_over)

    def fail(self, number: int) -> None:
        """Have the disk fail so many times under one process, and let it live until all is over."""

        async def through_all(life: Life) -> None:
            for _ in range(number):
                await self._through_fault(life)
            await self._until_over(life)

        self._live(through_all)

    def _live(self, plot: Callable[[Life], Awaitable[None]]) -> None:
        async def whole(clock: VirtualClock) -> None:
            life = Life(self._lives, self._here, clock, self._random, self._way)
            client = asyncio.create_task(self._client(life))
            try:
                await plot(life)
            finally:
                client.cancel()
                await asyncio.wait([client])
                await life.end()
                self._note(life)

        pages = self._random.choice(CHECKPOINT_PAGES)
        unheard = patch.object(logging.getLogger("kokugen"), "disabled", True)
        with quiet(), unheard, patch.object(connection, "CHECKPOINT_PAGES", pages):
            run_virtual(whole, start=from_us(self._now_us))

    def _note(self, life: Life) -> None:
        self._entries += life.entries
        self._now_us = life.now_us + SECOND_US
        self.happened += life.disk.happened
        if life.disk.off:
            self._killed[life.number] = life.now_us * 1000
            self._lives += 1
            life.disk.leave(self._here)

    async def _until_cut(self, life: Life) -> None:
        life.disk.cut_after(self._random.randint(1, CHANGES_MAX))
        try:
            await life.start()
        except KokugenError as error:
            if not life.disk.off:
                self._verdicts.append(Verdict(Kind.LOST, f"the store cannot be used after a cut: {error}"))
        end_us = life.now_us + LIFE_MAX_S * SECOND_US
        while not life.disk.off and life.now_us < end_us:  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(LOOK_S)
        if not life.disk.off:
            with suppress(apsw.Error):
                life.disk.cut()

    async def _through_fault(self, life: Life) -> None:
        random = self._random
        if not life.started:
            await life.start()
        await asyncio.sleep(random.random() * 2)
        life.disk.fault = random.choice(sorted(FAULTS))
        await asyncio.sleep(random.random() * random.choice(FAULT_S))
        life.disk.fault = None
        whole_us, before = life.now_us, len(life.entries)
        while not any(entry.event == journal.START for entry in life.entries[before:]):
            await asyncio.sleep(LOOK_S)
            assert life.now_us < whole_us + STILL_MAX_S * SECOND_US, "nothing runs any more"
        self.resumed_s.append((life.now_us - whole_us) / SECOND_US)

    async def _until_over(self, life: Life) -> None:
        if not life.started:
            await life.start()
        self._asking = False
        least, since_us = await self._left(life), life.now_us
        while least and life.now_us < since_us + STILL_MAX_S * SECOND_US:
            await asyncio.sleep(PAUSE_S)
            if (left := await self._left(life)) < least:
                least, since_us = left, life.now_us
        assert await life.node.stop(), "what was started has ended"
        life.started = False

    async def _left(self, life: Life) -> int:
        """Return how many tasks are not over, and calls not answered."""
        return len(self._adding) + (self._cancelling is not None) + await life.store.count(LIVE)

    # -- What is asked

    async def _client(self, life: Life) -> None:
        """Ask for tasks and cancellations, each again and again until it is answered."""
        while True:
            await asyncio.sleep(self._random.random() * PAUSE_S)
            if self._asking and not self._adding:
                self._adding = [self._task(life) for _ in range(self._random.randint(1, 4))]
            await self._add(life)
            if self._asking and self.asked and self._cancelling is None and self._random.random() < 0.2:
                self._cancelling = self._random.choice(list(self.asked))
            await self._cancel(life)

    def _task(self, life: Life) -> NewTask:
        random = self._random
        self._numbers += 1
        due = life.now_us + round(random.choice((0.0, 0.0, 1.0)) * SECOND_US)
        return NewTask(
            id=f"00000000-0000-7000-8000-{self._numbers:012d}",
            work_id="step",
            due_at=due,
            scheduled_time=due,
            param=encode_params(Params((random.choice((0.0, 0.1, 2.0)),))),
            mode=Mode.AT_MOST_ONCE if random.random() < 0.2 else Mode.AT_LEAST_ONCE,
            max_lost=1000,
        )

    async def _add(self, life: Life) -> None:
        rows = self._adding
        if rows and await self._answered(life, life.store.add(rows)) is not None:
            self.asked |= {row.id: row.due_at for row in rows}
            self._adding = []

    async def _cancel(self, life: Life) -> None:
        if (task_id := self._cancelling) is None:
            return
        answers = await self._answered(life, life.store.cancel(CancelRequest(ids=(task_id,))))
        if answers is None:
            return
        self._cancelling = None
        done = answers[0].result is CancelResult.CANCELLED
        noted = self._cancelled if done else self._requested  # one that is over may be so by a call without an answer
        noted.setdefault(task_id, life.now_us * 1000)

    async def _answered(self, life: Life, reply: Awaitable[T]) -> T | None:
        """Return an answer; None where the store could not be used, and said so in words that help."""
        try:
            return await reply
        except Exception as error:
            self.happened["error told"] += 1
            clear = isinstance(error, RepositoryUnavailableError) and "cannot be used just now" in str(error)
            if not clear and not life.disk.off:
                self._verdicts.append(Verdict(Kind.UNEXPLAINED, f"a client was told {error!r}"))
            return None

    # -- What is known

    def failed(self, fault: str) -> int:
        """Return how many calls of the disk failed by this fault."""
        return sum(times for name, times in self.happened.items() if name.startswith(f"{fault}: "))

    def verdicts(self) -> list[Verdict]:
        """Return every broken promise."""
        if self._verdicts:
            return self._verdicts
        try:
            content(self._here / "tasks.db")
        except apsw.Error as error:
            return [Verdict(Kind.LOST, f"the file is damaged: {error}")]
        slow = [
            Verdict(Kind.SLOW, f"work resumed {span:.1f} s after the disk was whole")
            for span in self.resumed_s
            if span > RESUMED_MAX_S
        ]
        return [*judge(self._case()), *self._repeated(), *slow]

    def _repeated(self) -> Iterator[Verdict]:
        """What ran again though it had ended, in a process that lives and so has its outcome still."""
        ended: set[tuple[str, int]] = set()
        for entry in self._entries:
            if entry.event == journal.START and (entry.task_id, entry.pid) in ended:
                yield Verdict(Kind.DOUBLED, f"{entry.task_id}: ran again after it had ended")
            if entry.event == journal.END:
                ended.add((entry.task_id, entry.pid))

    def tasks(self) -> dict[str, TaskInfo]:
        found: dict[str, TaskInfo] = {}
        store, after = SQLiteRepository(self._here / "tasks.db"), None
        while page := store.page(TaskQuery(limit=PAGE, after=after)).result():
            found |= {info.id: info for info in page}
            after = to_us(page[-1].due_at or page[-1].scheduled_time), page[-1].id
        store.close()
        return found

    def _case(self) -> Case:
        ground = SqliteGround(self._here)
        return Case(
            asked=self.asked,
            entries=self._entries,
            tasks=self.tasks(),
            history=ground.history(),
            steps=ground.testimony(),
            killed=self._killed,
            cancelled=self._cancelled,
            requested=self._requested,
        )
