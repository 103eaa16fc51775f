"""Broken rules of the protocol, each of which the simulation must catch: that is how far it can be trusted.

A mutant replaces one function of kokugen while it is applied. `promises` are those that it may be caught by, `seeds` is
within how many histories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from typing import Any
from unittest.mock import patch

from msgspec import Struct

from kokugen.engine.beat import Beat
from kokugen.engine.claims import Claims
from kokugen.engine.endings import Endings
from kokugen.engine.engine import Engine
from kokugen.engine.lane import Party
from kokugen.engine.timer import Timer
from kokugen.errors import RepositoryError
from kokugen.ids import IdSource
from kokugen.reply import Reply
from kokugen.repository.memory import claims as memory_claims
from kokugen.repository.memory import heap
from kokugen.repository.memory.claims import MemoryClaims
from kokugen.repository.memory.operations import MemoryOperations
from kokugen.repository.memory.record import Record
from kokugen.repository.memory.schedules import MemorySchedules
from kokugen.repository.memory.table import TaskTable
from kokugen.repository.rows import (
    NO_AGEING_US,
    Added,
    AddResult,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    NewTask,
    Observed,
    Recovered,
)
from kokugen.repository.schedule_rows import Changed, ScheduleChange
from kokugen.run import Run
from kokugen.schedules.materialiser import Materialiser
from kokugen.task import NodeInfo, TaskState, replace
from kokugen.task_storage.leasing import Asked, LeasedTasks
from kokugen.task_storage.sightings import Sightings
from tests.engine.node import node_info
from tests.simulation import machine
from tests.simulation.plan import Plan, plan_of
from tests.simulation.world import MachineClock, MachineLoop, World

FAR_S = float("inf")


class Mutant(Struct, frozen=True, kw_only=True):
    """A rule that is broken: `parts` are what is replaced, by what; `needs` are deeds, one of which is to be there."""

    rule: str
    promises: tuple[str, ...]
    parts: tuple[tuple[Any, str, Any], ...]
    seeds: int = 400
    needs: tuple[str, ...] = ()

    def plans(self) -> Iterator[Plan]:
        """Yield the histories in which it is looked for, the first ones that have what it needs."""
        fitting = (plan for plan in map(plan_of, count()) if self._fits(plan))
        return islice(fitting, self.seeds)

    def _fits(self, plan: Plan) -> bool:
        return not plan.sqlite and (not self.needs or any(deed.what in self.needs for deed in plan.deeds))

    @contextmanager
    def applied(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, other in self.parts:
                stack.enter_context(patch.object(owner, name, other))
            yield


# -- Leases


def _stale_at_once(self: Sightings, observed: Iterable[Observed]) -> list[Observed]:
    return list(observed)


def _stale_by_wall_clock(self: Sightings, observed: Iterable[Observed]) -> list[Observed]:
    return _stale_at(self, observed, self._clock.wall_us() / 1e6)


def _stale_at(self: Sightings, observed: Iterable[Observed], now_s: float) -> list[Observed]:
    before, stale = self._seen, []
    self._seen = {}
    for one in observed:
        lease = Lease(one.id, one.claim)
        beat, since_s = before.get(lease, (one.beat, now_s))
        since_s = now_s if beat != one.beat else since_s
        self._seen[lease] = one.beat, since_s
        if now_s - since_s >= one.ttl_s:
            stale.append(one)
    return stale


_WATCH = LeasedTasks.watch


async def _watch_by_the_stores_clock(self: LeasedTasks, *known: Any, **about: Any) -> list[Recovered]:
    """As if the wall clock, put right by the store's as it was told last, said how long a run was seen unchanged."""

    def stale(observed: Iterable[Observed]) -> list[Observed]:
        return _stale_at(self._sightings, observed, (self._clock.wall_us() - self.skew_us) / 1e6)

    self._sightings.stale = stale  # type: ignore[method-assign]
    return await _WATCH(self, *known, **about)


class MonotonicClock(MachineClock):
    def __init__(self, world: World, loop: MachineLoop) -> None:
        super().__init__(world, loop)
        self.boot_s = loop.time


def _always(self: object, *_: object) -> bool:
    return True


def _never(self: object, *_: object) -> None:
    return None


def _run_of_any_claim(self: MemoryClaims, task_id: str, claim: str) -> Record | None:
    return self._table.by_state[TaskState.WORKING].get(task_id)


_RECEIVED = Claims._received


def _trust_from_the_answer(self: Claims, party: Party, answer: ClaimAnswer, asked: Asked) -> None:
    _RECEIVED(self, party, answer, replace(asked, sent_s=self._clock.boot_s()))


_SIGN_OFF = Engine._sign_off


async def _sign_off_anyway(self: Engine, clean: bool, until_s: float) -> None:
    await _SIGN_OFF(self, True, until_s)


def _one_of_two(name: str) -> NodeInfo:
    return node_info(f"node-{int(name.rpartition('-')[2]) % 2}")


# -- Claims


_CHOOSE = memory_claims._choose


def _choose_more(request: Any, due: Any, now: int) -> Any:
    return _CHOOSE(replace(request, slots=request.slots + 5, buffer=request.buffer + 20), due, now)


def _choose_lost(request: Any, due: Any, now: int) -> Any:
    return _CHOOSE(replace(request, lost_max=99), due, now)


_CLAIM = MemoryClaims.claim


def _claim_what_changed(self: MemoryClaims, request: ClaimRequest) -> Reply[ClaimAnswer]:
    """As if a node had a cursor by time: it looks at what changed since it looked last."""
    looked: dict[str, int] = self.__dict__.setdefault("looked", {})
    since, looked[request.node_id] = looked.get(request.node_id, 0), self._clock.wall_us()

    def choose(request: ClaimRequest, due: Iterator[Record], now: int) -> tuple[list[Record], list[Record]]:
        found = list(due)
        taken, _ = _CHOOSE(request, iter([one for one in found if one.modified_at >= since]), now)
        return taken, [one for one in found if one not in taken]

    with patch.object(memory_claims, "_choose", choose):
        return _CLAIM(self, request)


def _head_of_strict_priorities(entry: heap.Entry, _ageing_us: int, waiting: heap.LazyHeap) -> Any:
    return _HEAD(entry, NO_AGEING_US, waiting)


_HEAD = heap._head

_START = TaskTable.start


def _start_at_the_old_fence(self: TaskTable, record: Record, owner: str, claim: str, now: int) -> None:
    _START(self, record, owner, claim, now)
    record.fence -= 1


def _one_nonce(self: IdSource) -> str:
    return f"{0:032x}"


def _may_always_claim(self: Claims, lane: Any) -> bool:
    return bool(lane.room > 0)


_ENROL = TaskTable._enrol


def _enrol_the_held(self: TaskTable, record: Record, now: int) -> None:
    hold, record.hold = record.hold, None
    _ENROL(self, record, now)
    record.hold = hold


_ASKED = Timer.asked


def _no_poll(self: Timer, _poll_at_s: float) -> None:
    _ASKED(self, FAR_S)


_RUN = Run.__init__


def _run_at_once(self: Run, *args: Any, **about: Any) -> None:
    _RUN(self, *args, **about | {"not_before_us": 0})


# -- Outcomes


_FINISH = MemoryClaims._finish


def _finish_unfenced(self: MemoryClaims, row: Finish, now: int) -> Finished:
    record = self._table.records.get(row.id)
    if record is not None and record.claim is not None:
        row = replace(row, claim=record.claim)
    return _FINISH(self, row, now)


def _finish_without_memory(self: MemoryClaims, row: Finish, now: int) -> Finished:
    record = self._table.records.get(row.id)
    return _FINISH(self, row, now) if record is not None and record.claim == row.claim else Finished.FENCED


_SETTLE = MemoryClaims._settle


def _settle_without_cancel(self: MemoryClaims, record: Record, row: Finish, now: int) -> None:
    record.cancel_requested = False
    _SETTLE(self, record, row, now)


async def _finish_once(self: LeasedTasks, rows: Sequence[Finish]) -> list[Finish]:
    try:
        answers = await self._answered(self.repository.finish(rows), "finishing")
    except RepositoryError:
        return []
    return [row for row, answer in zip(rows, answers, strict=True) if answer is Finished.FENCED]


# -- Schedules


_CHANGE = MemorySchedules._change


def _change_without_tasks(self: MemorySchedules, change: ScheduleChange, now: int) -> Changed:
    """As if the tasks were added by another statement, before which a process may die."""
    return _CHANGE(self, replace(change, tasks=change.tasks[:-1]) if change.row.rev % 5 == 0 else change, now)


def _change_whatever_is_there(self: MemorySchedules, change: ScheduleChange, now: int) -> Changed:
    there = self._schedules.rows.get(change.row.id)
    return _CHANGE(self, replace(change, expected=None if there is None else there.rev), now)


_MATERIALISE = Materialiser.run


async def _run_by_a_leader(self: Materialiser) -> None:
    """As if the node that came first did it for all, and nobody after it."""
    assert isinstance(self._clock, MachineClock)
    if self._clock._world.__dict__.setdefault("leader", self) is self:
        await _MATERIALISE(self)
    await asyncio.Event().wait()


async def _now_of_the_node(self: Materialiser) -> int:
    return self._clock.wall_us()


# -- What is kept


def _lose_and_go_on(self: TaskTable, record: Record, now: int) -> None:
    record.lost += 1
    record.attempt -= 1
    self.wait(record, None, now)


_LOSE = TaskTable.lose


def _lose_an_attempt(self: TaskTable, record: Record, now: int) -> None:
    attempt = record.attempt
    _LOSE(self, record, now)
    record.attempt = attempt


_ADD = TaskTable.add


def _add_anew(self: TaskTable, task: NewTask, now: int) -> Added:
    record = self.records.get(task.id)
    if record is None or record.state in (TaskState.INITIALIZED, TaskState.WORKING):
        return _ADD(self, task, now)
    self.wait(record, task.due_at, now)
    return Added(task.id, AddResult.ADDED)


_ENDED = MemoryOperations._ended


def _ended_ever(self: MemoryOperations, state: TaskState, before_us: int) -> Iterator[Record]:
    return _ENDED(self, state, 1 << 62)


def _mutant(
    rule: str, promises: str, *parts: tuple[Any, str, Callable[..., Any]], seeds: int = 400, needs: tuple[str, ...] = ()
) -> Mutant:
    return Mutant(rule=rule, promises=tuple(promises.split()), parts=parts, seeds=seeds, needs=needs)


MUTANTS: dict[str, Mutant] = {
    "no lease": _mutant(
        "a run of another node is recovered at first sight", "I7", (Sightings, "stale", _stale_at_once)
    ),
    "wall clock lease": _mutant(
        "a wall clock says when a run is lost", "I7", (Sightings, "stale", _stale_by_wall_clock), needs=("clock step",)
    ),
    "corrected clock lease": _mutant(
        "the store's clock, as a node was told it last, says when a run is lost",
        "I7",
        (LeasedTasks, "watch", _watch_by_the_stores_clock),
        seeds=5000,
        needs=("store clock step",),
    ),
    "monotonic clock": _mutant(
        "leases go by a clock that stops while the machine sleeps", "I7", (machine, "MachineClock", MonotonicClock)
    ),
    "no trust deadline": _mutant(
        "nobody mistrusts a lease", "I7", (Run, "may_start", _always), (Beat, "mistrust", _never)
    ),
    "trust from the answer": _mutant(
        "a lease counts from its answer on", "I7", (Claims, "_received", _trust_from_the_answer), needs=("slow",)
    ),
    "beat of any claim": _mutant(
        "a beat extends whatever run the task has", "I6 I7", (MemoryClaims, "_run", _run_of_any_claim)
    ),
    "sign off with runs": _mutant(
        "a node says it stopped while work goes on",
        "I7",
        (Engine, "_sign_off", _sign_off_anyway),
        needs=("stop", "stop at once"),
    ),
    "reused node id": _mutant("a node id comes again", "I7", (machine, "node_info", _one_of_two)),
    "claims more": _mutant("a claim takes more than it asked for", "I15", (memory_claims, "_choose", _choose_more)),
    "poison in company": _mutant(
        "tasks that were lost run beside each other", "I21", (memory_claims, "_choose", _choose_lost)
    ),
    "old fence": _mutant("a claim leaves the fence", "I3", (TaskTable, "start", _start_at_the_old_fence)),
    "one nonce": _mutant("claims repeat", "I3 I4", (IdSource, "nonce", _one_nonce)),
    "full outbox": _mutant("a node claims though it cannot write", "I15", (Claims, "_may_claim", _may_always_claim)),
    "held is claimed": _mutant("a hold keeps nothing", "I2", (TaskTable, "_enrol", _enrol_the_held)),
    "cursor by time": _mutant(
        "a node looks at what changed since it looked last",
        "I6 I14 I17 I18 I19",
        (MemoryClaims, "claim", _claim_what_changed),
    ),
    "hints alone": _mutant("nobody polls", "I14 I6 I19 I18", (Timer, "asked", _no_poll)),
    "no ageing": _mutant(
        "a low priority waits behind all higher ones", "I14", (heap, "_head", _head_of_strict_priorities)
    ),
    "starts early": _mutant("a run starts as soon as it is claimed", "I9", (Run, "__init__", _run_at_once)),
    "not fenced": _mutant(
        "a completion counts whosever the task is", "I4 I20", (MemoryClaims, "_finish", _finish_unfenced)
    ),
    "no final claim": _mutant(
        "an outcome that was written is refused when it is repeated",
        "I20",
        (MemoryClaims, "_finish", _finish_without_memory),
    ),
    "cancel is forgotten": _mutant(
        "a run that ends forgets that it was to be cancelled", "I13", (MemoryClaims, "_settle", _settle_without_cancel)
    ),
    "outcomes are dropped": _mutant("what cannot be written is given up", "I20", (LeasedTasks, "finish", _finish_once)),
    "refused in silence": _mutant(
        "nobody hears of an outcome that is refused late",
        "I20",
        (Endings, "_refused_late", _never),
        needs=("unwritable",),
    ),
    "at most once again": _mutant(
        "a lost run is called again, whatever its mode", "I5 I21", (TaskTable, "lose", _lose_and_go_on)
    ),
    "crash uses an attempt": _mutant("a crash uses up an attempt", "I6", (TaskTable, "lose", _lose_an_attempt)),
    "insert again": _mutant("a repeated insert begins anew", "I1 I2", (TaskTable, "add", _add_anew)),
    "prunes too soon": _mutant("what has just ended is deleted", "I1", (MemoryOperations, "_ended", _ended_ever)),
    "schedule without its tasks": _mutant(
        "a schedule moves on in another transaction than its tasks are added in",
        "I11",
        (MemorySchedules, "_change", _change_without_tasks),
        needs=("schedule",),
    ),
    "schedule of two minds": _mutant(
        "a decision counts though another node decided first",
        "I11 I10",
        (MemorySchedules, "_change", _change_whatever_is_there),
        needs=("schedule",),
    ),
    "leader": _mutant(
        "one node decides about all schedules, and no other when it is gone",
        "I11",
        (Materialiser, "run", _run_by_a_leader),
        needs=("schedule",),
    ),
    "missed before it came": _mutant(
        "a node decides about schedules by its own clock",
        "I11",
        (Materialiser, "_now_us", _now_of_the_node),
        needs=("clock step",),
    ),
    "due by the node's clock": _mutant(
        "retries are due by a node's own clock",
        "I6 I18",
        (LeasedTasks, "_compare_clocks", _never),
        needs=("clock step",),
    ),
}
