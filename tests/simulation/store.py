"""The store of the simulated world: the memory repository, and a slow and unreliable wire to it from each machine.

Whatever is committed is checked at once: only the allowed changes of state, each claim once, the fence one up a claim.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from kokugen.clock import Clock
from kokugen.errors import RepositoryUnavailableError, UnknownOutcomeError
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import (
    Added,
    CancelAnswer,
    CancelRequest,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Finished,
    NewTask,
    Observed,
    Recovered,
    Revision,
)
from kokugen.task import TaskInfo, TaskState
from kokugen.testing import FaultyRepository
from tests.simulation.world import World

T = TypeVar("T")

WAITING, WORKING, DONE, CANCELLED, FAILED = TaskState
ENDS = {DONE, CANCELLED, FAILED}
STEPS = {
    "claim": {(WAITING, WORKING)},
    "finish": {(WORKING, WAITING)} | {(WORKING, end) for end in ENDS},
    "recover": {(WORKING, WAITING), (WORKING, CANCELLED), (WORKING, FAILED)},
    "cancel": {(WAITING, CANCELLED), (WORKING, CANCELLED)},
    "revise": set[tuple[TaskState, TaskState]](),
}


class WatchedStore(MemoryRepository):
    """A memory repository of which every change is checked against what was known before it. `seen` counts them."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.known: dict[str, TaskInfo] = {}
        self.claims: set[tuple[str, str]] = set()
        self.outcomes: set[tuple[str, str]] = set()
        self.seen: Counter[str] = Counter()

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        answers = super().add(tasks)
        self.known |= {info.id: info for info in self.get([task.id for task in tasks]).peek()}
        return answers

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        answer = super().claim(request).peek()
        for task in answer.tasks:
            assert self.known[task.id].hold is None, f"{task.id} is held, and was claimed"
            assert (task.id, answer.claim) not in self.claims, f"{task.id}: one claim twice"
            self.claims.add((task.id, answer.claim))
        self._check("claim", (task.id for task in answer.tasks))
        assert sum(task.lost > 0 for task in answer.tasks) <= request.lost_max
        return Reply.of(answer)

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        answers = super().finish(rows).peek()
        changed = self._check("finish", (row.id for row in rows))
        for row, answer in zip(rows, answers, strict=True):
            self.seen[f"{row.outcome}, {answer.name.lower()}"] += 1
            if row.id in changed:
                assert (row.id, row.claim) not in self.outcomes, f"{row.id}: two outcomes of one claim"
                self.outcomes.add((row.id, row.claim))
        return Reply.of(answers)

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        before = dict(self.known)
        answers = super().recover(observed)
        for task_id in self._check("recover", (one.id for one in observed)):
            self.seen["recovered"] += 1
            was, now = before[task_id], self.known[task_id]
            assert now.lost == was.lost + 1
            assert now.attempt == was.attempt - (now.state is WAITING), "a crash used an attempt up"
        return answers

    def retire(self, node_id: str) -> Reply[None]:
        left = [info.id for info in self.known.values() if info.owner == node_id]
        assert not left, f"{node_id} says that it stopped, and has {left}"
        self.seen["retired"] += 1
        return super().retire(node_id)

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        answers = super().cancel(request)
        self._check("cancel", request.ids)
        return answers

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        answer = super().revise(task_id, revision)
        self._check("revise", [task_id])
        return answer

    def _check(self, verb: str, task_ids: Iterable[str]) -> set[str]:
        """Check what a call changed, and return whose state it did."""
        changed = set()
        for now in self.get(list(task_ids)).peek():
            was, self.known[now.id] = self.known[now.id], now
            assert now.fence == was.fence + (verb == "claim"), f"{now.id}: {verb} took its fence from {was.fence}"
            if now.state is not was.state:
                assert (was.state, now.state) in STEPS[verb], f"{now.id}: {verb} made {was.state!r} {now.state!r}"
                changed.add(now.id)
        return changed


class Wire(FaultyRepository):
    """A machine's way to the store: requests go one after the other, take their time both ways, and may be lost.

    `lost` says how, while something is wrong: the `request`, or the `answer`, one of both by chance, or neither.
    """

    def __init__(self, store: WatchedStore, world: World) -> None:
        super().__init__(store)
        self.lost: tuple[str, ...] = ()
        self.dead = False
        """The machine is gone: what it has sent may still arrive, and no answer does."""
        self.losses: Counter[str] = Counter()
        self._world = world
        self._sent_s = 0.0

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        """Have this machine hear of what is due, when it takes its next step."""
        loop = asyncio.get_running_loop()

        def hear(due_us: int) -> None:
            with suppress(RuntimeError):  # the machine is gone
                loop.call_soon_threadsafe(hint, due_us)

        return super().listen(hear)

    def _ask(self, verb: str, call: Callable[[], Reply[T]]) -> Reply[T]:
        answer: Reply[T] = Reply()
        if self.dead:
            return answer
        lost = self._world.random.choice(self.lost) if self.lost else ""
        self.losses[lost] += 1
        if lost == "request":
            error = RepositoryUnavailableError(f"{verb} was lost on its way")
            self._world.after(self._delay_s(), lambda: self._settle(answer, Reply.failed(error)))
            return answer
        self._sent_s = max(self._sent_s, self._world.now_s + self._delay_s())
        self._world.at(self._sent_s, lambda: self._arrive(verb, call, answer, lost))
        return answer

    def _arrive(self, verb: str, call: Callable[[], Reply[T]], answer: Reply[T], lost: str) -> None:
        done = call()
        if lost == "answer":
            done = Reply.failed(UnknownOutcomeError(verb))
        if lost != "silence":
            self._world.after(self._delay_s(), lambda: self._settle(answer, done))

    def _settle(self, answer: Reply[T], done: Reply[T]) -> None:
        if self.dead:
            return
        try:
            answer.resolve(done.peek())
        except Exception as error:
            answer.fail(error)

    def _delay_s(self) -> float:
        """Mostly a millisecond or two, sometimes a while, seldom longer than anyone waits."""
        drawn = self._world.random.random()
        if drawn < 0.9:
            return 0.003 * self._world.random.random()
        return 0.3 * self._world.random.random() if drawn < 0.995 else 3 * self._world.random.random()
