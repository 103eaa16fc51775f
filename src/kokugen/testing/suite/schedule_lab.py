"""The bench for schedules: rows, changes and occurrences of one repository, in one line a step."""

from __future__ import annotations

from typing import Any

from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import (
    Changed,
    Ledger,
    LedgerQuery,
    LedgerRow,
    Overlap,
    Reason,
    ScheduleChange,
    ScheduledTask,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.task import TaskState, replace
from kokugen.testing.suite.lab import SECOND_US, Lab, ask

FOREVER = 2**53


class ScheduleLab:
    """A bench with a repository that keeps schedules. Instants are seconds after the start of the case."""

    def __init__(self, lab: Lab, repo: ScheduleRepository) -> None:
        self.lab = lab
        self.repo = repo
        self.start = lab.now

    def at(self, seconds: float) -> int:
        """Return an instant in microseconds."""
        return self.start + round(seconds * SECOND_US)

    def row(self, name: str = "daily", **about: Any) -> ScheduleRow:
        """Return the row of a schedule, with an id that follows from its name."""
        about.setdefault("spec", '{"type":"every"}')
        about.setdefault("policy", "{}")
        about.setdefault("template", '{"work_id":"work"}')
        about.setdefault("decided", self.start)
        about.setdefault("created_at", self.start)
        about.setdefault("modified_at", self.start)
        return ScheduleRow(id=about.pop("id", f"id-{name}"), name=name, **about)

    def task(self, second: float, row: ScheduleRow, **about: Any) -> ScheduledTask:
        """Return the occurrence of a schedule at a second."""
        at = self.at(second)
        overlap = None if row.overlap == Overlap.ALLOW else row.overlap
        reports = row.delay is not None or row.failures_max is not None
        given: dict[str, Any] = {
            "work_id": "work",
            "due_at": at,
            "scheduled_time": at,
            "overlap": overlap,
            "reports": reports,
        }
        about = given | about
        return ScheduledTask(id=task_id(second), schedule_id=row.id, nominal=at, **about)

    def entry(self, first: float, last: float | None = None, reason: str = Reason.MADE, **about: Any) -> LedgerRow:
        """Return a row of the ledger of the schedule `daily`."""
        until = first if last is None else last
        for name, value in {
            "schedule_id": "id-daily",
            "gen": 1,
            "count": round(until - first) + 1,
            "at": self.start,
        }.items():
            about.setdefault(name, value)
        return LedgerRow(first=self.at(first), last=self.at(until), reason=reason, **about)

    def change(self, row: ScheduleRow, **about: Any) -> Changed:
        """Carry out one change and return what became of it."""
        (answer,) = ask(self.repo.change_schedules([ScheduleChange(row=row, **about)]))
        return answer

    def create(self, name: str = "daily", *seconds: float, **about: Any) -> ScheduleRow:
        """Store a new schedule, with occurrences at these seconds, and return its row."""
        row = self.row(name, runs=len(seconds), **about)
        assert self.change(row, tasks=[self.task(one, row) for one in seconds]).applied
        return row

    def advance(self, row: ScheduleRow, **about: Any) -> ScheduleRow:
        """Change a schedule at its revision, in the fields that are given, and return its row."""
        names = {name: about.pop(name) for name in list(about) if name in ScheduleRow.__struct_fields__}
        after: ScheduleRow = replace(row, rev=row.rev + 1, **names)
        assert self.change(after, expected=row.rev, **about).applied
        return after

    def found(self, **query: Any) -> list[ScheduleRow]:
        """Return the schedules that fit."""
        return ask(self.repo.schedules(ScheduleQuery(**query)))

    def stored(self, name: str = "daily") -> ScheduleRow:
        """Return a schedule."""
        (row,) = self.found(names=(name,))
        return row

    def ledger(self, schedule_id: str = "id-daily", **query: Any) -> Ledger:
        """Return a part of a ledger, or the whole of it."""
        query = {"first": -FOREVER, "last": FOREVER} | query
        return ask(self.repo.ledger(LedgerQuery(schedule_id=schedule_id, **query)))

    def states(self, schedule_id: str = "id-daily") -> dict[float, tuple[str, str | None, str | None]]:
        """Return (state, hold, reason) of the occurrences, by their second."""
        return {
            (task.nominal - self.start) / SECOND_US: (task.state.label, task.hold, task.reason)
            for task in self.ledger(schedule_id).tasks
        }

    def settle(self, seconds: float = 0) -> int:
        """Settle the overlaps of what is due within so many seconds."""
        return ask(self.repo.settle_overlaps(self.lab.now + round(seconds * SECOND_US), 100))

    def start_one(self, second: float) -> str:
        """Claim the occurrence of a second, the only one that may be claimed, and return its claim."""
        answer = self.lab.claim()
        assert [task.id for task in answer.tasks] == [task_id(second)]
        return answer.claim

    def finish(self, second: float, claim: str, state: TaskState = TaskState.DONE) -> None:
        """End the run of an occurrence."""
        self.lab.finish(task_id(second), claim, state)

    def hold(self, second: float) -> str | None:
        """Return the hold of an occurrence."""
        return self.lab.info(task_id(second)).hold


def task_id(second: float) -> str:
    """Return the id of the occurrence at a second."""
    return f"occurrence-{second:08.3f}"
