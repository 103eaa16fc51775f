"""Calls of a store as engines and clients make them, drawn by chance, and what is remembered of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

from msgspec import Struct

from kokugen.clock import SECOND_US, Clock
from kokugen.reply import Reply
from kokugen.repository.rows import (
    CancelRequest,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Lease,
    NewTask,
    Observed,
    Report,
    Retention,
    Revision,
)
from kokugen.repository.schedule_rows import Changed, LedgerRow, Reason, ScheduleChange, ScheduledTask, ScheduleRow
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.task import TaskState, replace
from kokugen.testing.suite.lab import NODE, OUTCOMES, params

BURST = 4
"""How many calls are under way at once at most."""
LARGE = 3000
"""Arguments and results of this length are kept apart from their tasks."""


class Call(Struct, frozen=True):
    """One call, and who wants to know its answer."""

    name: str
    ask: Callable[[SQLiteRepository], Reply[Any]]
    heard: Callable[[Any], object] = lambda _: None


class Calls:
    """Draws calls; it knows of tasks and claims what the answers told."""

    def __init__(self, random: Random, clock: Clock) -> None:
        self.added = 0
        self._random = random
        self._clock = clock
        self._ids: list[str] = []
        self._runs: list[tuple[str, str]] = []
        self._ending: set[str] = set()
        self._seen: list[Observed] = []
        self._schedules: list[ScheduleRow] = []
        self._numbers = 0

    def draw(self) -> Sequence[Call]:
        """Return calls that are made at once: mostly one. No two of them end one task, as no two runs of it would."""
        self._ending.clear()
        if self._random.random() < 0.7:
            return [self._one()]
        return [call for call in (self._one() for _ in range(BURST)) if call.name != "beat"]

    def _one(self) -> Call:
        first = (self._add, self._schedule)
        kinds = (*first, self._add, self._claim, self._cancel, self._revise, self._revive, self._prune)
        running = (self._claim, self._finish, self._finish, self._beat, self._report, self._watch, self._recover)
        if not self._ids:
            return self._random.choice(first)()
        return self._random.choice((*kinds, *running) if self._runs else kinds)()

    @property
    def _now(self) -> int:
        return self._clock.wall_us()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _some(self) -> list[str]:
        return self._random.sample(self._ids, min(len(self._ids), self._random.randint(1, 3)))

    # -- Clients

    def _add(self) -> Call:
        tasks = [self._task() for _ in range(self._random.randint(1, 5))]
        self._ids += [task.id for task in tasks]
        self.added += len(tasks)
        return Call("add", lambda store: store.add(tasks))

    def _task(self) -> NewTask:
        number, random = self._number(), self._random
        due = self._now + random.choice((-5, 0, 3600)) * SECOND_US
        return NewTask(
            id=f"00000000-0000-7000-8000-{number:012d}",
            work_id=random.choice(("a", "b")),
            due_at=due,
            scheduled_time=due,
            param=params("x" * random.choice((1, LARGE))),
            mode=random.choice((0, 0, 1)),
            unique_key=random.choice((None, None, "u", "v")),
        )

    def _cancel(self) -> Call:
        request = CancelRequest(ids=tuple(self._some()), reason="not needed", force=self._random.random() < 0.5)
        return Call("cancel", lambda store: store.cancel(request))

    def _revise(self) -> Call:
        random, task_id = self._random, self._random.choice(self._ids)
        change = random.choice(
            (Revision(due_at=self._now), Revision(hold="paused"), Revision(release=True), Revision(param=params("y")))
        )
        return Call("revise", lambda store: store.revise(task_id, change))

    def _revive(self) -> Call:
        ids, now = self._some()[:1], self._now
        return Call("revive", lambda store: store.revive(ids, due_at=now, by="someone"))

    def _schedule(self) -> Call:
        """Make a schedule, or let one take its next step."""
        before = self._random.choice([None, *self._schedules])
        row = self._first() if before is None else self._next(before)
        expected = None if before is None else before.rev
        task_id, nominal = f"11111111-0000-7000-8000-{self._number():012d}", row.decided
        task = ScheduledTask(
            id=task_id, work_id="a", due_at=nominal, scheduled_time=nominal, schedule_id=row.id, nominal=nominal
        )
        entry = LedgerRow(
            schedule_id=row.id, gen=1, first=nominal, last=nominal, count=1, reason=Reason.MADE, at=nominal
        )
        change = ScheduleChange(row=row, expected=expected, tasks=[task], ledger=[entry])
        return Call(
            "change_schedules", lambda store: store.change_schedules([change]), partial(self._decided, row, task_id)
        )

    def _first(self) -> ScheduleRow:
        name, now = f"schedule-{self._number()}", self._now
        return ScheduleRow(
            id=name, name=name, spec="{}", policy="{}", template="{}", decided=now, created_at=now, modified_at=now
        )

    def _next(self, row: ScheduleRow) -> ScheduleRow:
        after: ScheduleRow = replace(row, rev=row.rev + 1, decided=max(self._now, row.decided + 1), runs=row.runs + 1)
        return after

    def _decided(self, row: ScheduleRow, task_id: str, answers: list[Changed]) -> None:
        if answers[0].applied:
            self._schedules = [one for one in self._schedules if one.id != row.id] + [row]
            self._ids.append(task_id)

    # -- Engines

    def _claim(self) -> Call:
        request = ClaimRequest(
            node_id=NODE, nonce=f"{self._number():032x}", slots=self._random.randint(1, 4), buffer=2, ttl_s=30.0
        )
        return Call("claim", lambda store: store.claim(request), self._claimed)

    def _claimed(self, answer: ClaimAnswer) -> None:
        self._runs += [(task.id, answer.claim) for task in answer.tasks]

    def _finish(self) -> Call:
        runs = dict(self._random.sample(self._runs, min(len(self._runs), self._random.randint(1, 3))))
        rows = [self._end(*run) for run in runs.items() if run[0] not in self._ending]
        self._ending |= runs.keys()
        return Call("finish", lambda store: store.finish(rows))

    def _end(self, task_id: str, claim: str) -> Finish:
        state = self._random.choice((TaskState.DONE, TaskState.DONE, TaskState.FAILED, TaskState.INITIALIZED))
        large = '"' + "y" * LARGE + '"' if state == TaskState.DONE and self._random.random() < 0.5 else None
        told: dict[str, Any] = {"state": state, "outcome": OUTCOMES[state], "result": large, "started_at": self._now}
        return Finish(id=task_id, claim=claim, **told)

    def _beat(self) -> Call:
        leases = [Lease(*run) for run in self._runs[-4:]]
        return Call("beat", lambda store: store.beat(leases))

    def _report(self) -> Call:
        rows = [Report(*run, progress='[0.5,"half",null]') for run in self._runs[-2:]]
        return Call("report", lambda store: store.report(rows))

    def _watch(self) -> Call:
        return Call("watch", lambda store: store.watch("another node"), self._watched)

    def _watched(self, seen: list[Observed]) -> None:
        self._seen = seen[:2]

    def _recover(self) -> Call:
        seen = self._seen
        return Call("recover", lambda store: store.recover(seen))

    def _prune(self) -> Call:
        old = self._now - self._random.choice((20, 1000)) * SECOND_US
        retention = Retention(done_before=old, cancelled_before=old, failed_before=old)
        return Call("prune", lambda store: store.prune(retention))
