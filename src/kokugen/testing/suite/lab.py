"""The bench on which the cases of the suite work: one repository, asked and answered in one line a step.

It remembers nothing of the repository: what a case expects, it says itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from kokugen.clock import to_us
from kokugen.codec import encode_params
from kokugen.reply import Reply
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import (
    Added,
    CancelAnswer,
    CancelRequest,
    CancelResult,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    NewTask,
    Observed,
    Revision,
)
from kokugen.task import Attempt, Params, TaskInfo, TaskQuery, TaskState, replace
from kokugen.testing.clock import ManualClock

T = TypeVar("T")

NODE = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
OTHER_NODE = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
NOBODY = "ffffffff-ffff-7fff-bfff-ffffffffffff"
"""An id that no task has."""
STALE = "e" * 32
"""A claim that was never made."""

SECOND_US = 1_000_000
SECOND = timedelta(seconds=1)
STATES = tuple(TaskState)
ENDED = (TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED)
NOT_WAITING = (TaskState.WORKING, *ENDED)
OUTCOMES = {
    TaskState.INITIALIZED: "retry",
    TaskState.DONE: "done",
    TaskState.CANCELLED: "cancelled",
    TaskState.FAILED: "failed",
}
ANSWER_MAX_S = 30.0


async def _answer(reply: Awaitable[T]) -> T:
    return await reply


def ask(reply: Awaitable[T]) -> T:
    """Return the answer, or raise its error, waiting in this thread."""
    if isinstance(reply, Reply):
        answer: T = reply.result(ANSWER_MAX_S)
        return answer
    return asyncio.run(_answer(reply))


class Lab:
    """A repository, its clock, and the steps of the cases."""

    def __init__(self, clock: ManualClock, open_store: Callable[[str], DurableRepository], first: int = 1) -> None:
        self.clock = clock
        self.open_store = open_store
        self.repo = open_store("default")
        self._numbers = count(first)

    @property
    def now(self) -> int:
        """Return the wall clock in microseconds."""
        return self.clock.wall_us()

    def pass_time(self, seconds: float = 1) -> None:
        """Let time pass on all clocks."""
        self.clock.advance(timedelta(seconds=seconds))

    def number(self) -> int:
        """Return a number that no other call of this bench gets."""
        return next(self._numbers)

    # -- Adding

    def new(self, **asked: Any) -> NewTask:
        """Return a task that is due now, with an id of its own, in growing order."""
        number = next(self._numbers)
        asked.setdefault("id", f"00000000-0000-7000-8000-{number:012d}")
        asked.setdefault("work_id", "work")
        asked.setdefault("due_at", self.now)
        asked.setdefault("scheduled_time", asked["due_at"])
        return NewTask(**asked)

    def add(self, **asked: Any) -> str:
        """Add a task and return its id."""
        task = self.new(**asked)
        self.add_all(task)
        return task.id

    def add_all(self, *tasks: NewTask) -> list[Added]:
        """Add tasks and return the answers."""
        return ask(self.repo.add(tasks))

    def in_state(self, state: TaskState, **asked: Any) -> str:
        """Bring a new task of a work of its own into a state, as an engine would, and return its id."""
        asked.setdefault("work_id", f"work-{next(self._numbers)}")
        task_id = self.add(**asked)
        if state == TaskState.INITIALIZED:
            return task_id
        claim = self.start(task_id)
        if state != TaskState.WORKING:
            self.finish(task_id, claim, state)
        return task_id

    # -- Running

    def request(self, slots: int = 1000, **asked: Any) -> ClaimRequest:
        """Return a claim request with a nonce of its own, that looks no time ahead."""
        asked.setdefault("node_id", NODE)
        asked.setdefault("nonce", f"{next(self._numbers):032x}")
        asked.setdefault("ahead_us", 0)
        return ClaimRequest(slots=slots, **asked)

    def claim(self, slots: int = 1000, **asked: Any) -> ClaimAnswer:
        """Claim what is due."""
        return ask(self.repo.claim(self.request(slots, **asked)))

    def claimed(self, slots: int = 1000, **asked: Any) -> list[str]:
        """Claim what is due and return the ids, in order."""
        return [task.id for task in self.claim(slots, **asked).tasks]

    def drained(self, slots: int, **asked: Any) -> list[str]:
        """Claim so many at a time until nothing is due, and return the ids, in order."""
        ids: list[str] = []
        while won := self.claimed(slots, **asked):
            ids += won
        return ids

    def start(self, task_id: str, **asked: Any) -> str:
        """Claim this task, whose work no other waiting task has, and return the claim."""
        info = self.info(task_id)
        answer = self.claim(only=frozenset({info.work_id}), queues=(info.queue,), **asked)
        assert [task.id for task in answer.tasks] == [task_id]
        return answer.claim

    def finish(self, task_id: str, claim: str, state: TaskState = TaskState.DONE, **told: Any) -> Finished:
        """Finish a run and return what became of it."""
        told.setdefault("outcome", OUTCOMES.get(state, "done"))
        (answer,) = ask(self.repo.finish([Finish(id=task_id, claim=claim, state=state, **told)]))
        return answer

    def beat(self, *leases: tuple[str, str]) -> list[tuple[str, bool]]:
        """Beat for (id, claim) pairs and return (id, cancel requested) of those that were extended."""
        beaten = ask(self.repo.beat([Lease(task_id, claim) for task_id, claim in leases]))
        return [(one.id, one.cancel_requested) for one in beaten]

    def watch(self, node_id: str = OTHER_NODE) -> list[Observed]:
        """Return the runs of the others, in order of their ids."""
        return sorted(ask(self.repo.watch(node_id)), key=lambda seen: seen.id)

    def recover(self, *observed: Observed) -> list[tuple[str, TaskState]]:
        """Recover runs and return their ids and the states of their tasks."""
        return [(one.id, one.state) for one in ask(self.repo.recover(observed))]

    def lose(self, task_id: str) -> None:
        """Start the task, and let its node die and be found dead."""
        self.start(task_id)
        self.recover(*(seen for seen in self.watch() if seen.id == task_id))

    # -- Steering

    def cancel(self, *ids: str, **asked: Any) -> list[CancelAnswer]:
        """Cancel tasks and return the answers."""
        return ask(self.repo.cancel(CancelRequest(ids=ids, **asked)))

    def request_cancel(self, task_id: str, reason: str | None = None) -> None:
        """Ask a running task to stop."""
        (answer,) = self.cancel(task_id, reason=reason)
        assert answer.result == CancelResult.REQUESTED

    def revise(self, task_id: str, **changes: Any) -> int:
        """Change a waiting task and return its revision."""
        return ask(self.repo.revise(task_id, Revision(**changes)))

    # -- Looking

    def info(self, task_id: str) -> TaskInfo:
        """Return the task."""
        (found,) = ask(self.repo.get([task_id]))
        return found

    def infos(self) -> list[TaskInfo]:
        """Return all tasks, page by page."""
        return self.pages(TaskQuery(limit=500))

    def pages(self, query: TaskQuery) -> list[TaskInfo]:
        """Return all pages of a query, one behind the other."""
        found: list[TaskInfo] = []
        while page := ask(self.repo.page(query)):
            assert len(page) <= query.limit
            found += page
            last = page[-1]
            assert last.due_at is not None
            query = replace(query, after=(to_us(last.due_at), last.id))
        return found

    def attempts(self, task_id: str) -> list[Attempt]:
        """Return the history of the task."""
        return ask(self.repo.attempts(task_id))

    def whole(self, task_id: str) -> tuple[TaskInfo, list[Attempt]]:
        """Return everything that can be seen of a task: what a refused call must leave as it is."""
        return self.info(task_id), self.attempts(task_id)


def assert_changed(before: TaskInfo, after: TaskInfo, **expected: Any) -> None:
    """Assert that exactly these fields changed, and that the change was noted in `rev`."""
    assert after == replace(before, rev=after.rev, **expected)
    assert after.rev > before.rev


def params(*args: Any, **kwargs: Any) -> str:
    """Return arguments as a task's `param`."""
    return encode_params(Params(args, kwargs))
