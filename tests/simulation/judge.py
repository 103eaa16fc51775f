"""The judge: what was promised, as checks with a name each, and what it saw of every history.

It is told of every committed change of a row, of every lease that was given, and of every call of work. It shares no
rule with the engine: what it asks for is computed anew from what it saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from kokugen.clock import SECOND_US
from kokugen.engine.lane import BUFFER_MIN
from kokugen.repository.rows import Beaten, CancelAnswer, CancelResult, ClaimAnswer, ClaimRequest, Lease
from kokugen.repository.schedule_rows import Reason, ScheduleChange
from kokugen.run import Run
from kokugen.settings import Settings
from kokugen.task import Mode, TaskState
from tests.simulation.places import Place, Row
from tests.simulation.world import START_US, MachineClock, StoreClock, World

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

WAITING, WORKING, DONE, CANCELLED, FAILED = map(int, TaskState)
ENDS = frozenset({DONE, CANCELLED, FAILED})
PROMISES = {
    "I1": "an acknowledged task exists until it is over and past retention; a repeated insert makes one row",
    "I2": "only the transitions T1 to T14 ever commit; a row that is over changes only by a revival",
    "I3": "a Working row has exactly one claim; claims never repeat; the fence grows by exactly 1 with each",
    "I4": "an outcome is recorded only under the row's own claim, at most one a claim, and none that did not happen",
    "I5": "at most once: the work is called at most once in the task's life",
    "I6": "at least once: every task not cancelled or expired is called until Done or exhausted",
    "I7": "two runs overlap only if the earlier process is past its own trust deadline, and none starts beyond it",
    "I8": "a run that completes itself in a transaction: its effect is committed exactly if its task is Done by it",
    "I9": "no run starts before it is due by the store's clock",
    "I10": "at most one task, ever, of each time of a schedule",
    "I11": "of every schedule each time that has passed was made into a task, or left out with a reason, once",
    "I12": "of a schedule whose runs may not overlap one at most is Working",
    "I13": "after cancelled no run starts; after requested no new attempt starts, and the task ends",
    "I14": "what is due, not held and known to a live process is claimed within the poll and in its turn, hint or not",
    "I15": "running ≤ slots, claimed ≤ slots + buffer, nothing claimed while the outbox is full",
    "I16": "of the others, only those about due times go by a wall clock",
    "I17": "a dead process's task can be claimed within ttl + 2 · watch, and a second",
    "I18": "healthy and not saturated, a task starts at its time",
    "I19": "an outage loses nothing; what is due starts as soon as it is over",
    "I20": "an outcome is applied, found applied, or reported as refused; never dropped",
    "I21": "a task that cannot be decoded, is unknown, or kills its process stops no other",
    "I22": "namespaces never see each other's rows",
}
KNOWN_S = 10.0
"""So long after its clock was set a process knows of it, from the answers of the store."""
OVERLAPS = ("overlap", "replaced")
"""Why an occurrence is left out for another of its schedule."""
EPSILON_S = 2e-6
"""What a float can't tell apart."""
WORKERS = 3
"""How many runs a process may have under way."""


class Broken(Struct, frozen=True):
    """A promise that was not kept."""

    promise: str
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.promise} at {self.at_s:.3f} s: {self.text} ({PROMISES[self.promise]})"


class Call(Struct):
    """One call of work, as the world saw it."""

    task_id: str
    fence: int
    claim: str
    machine: str
    started_s: float
    ended_s: float | None = None
    how: str = ""
    """How it ended: returned, raised, gone."""

    @property
    def lease(self) -> Lease:
        return Lease(self.task_id, self.claim)


class Judge:
    """Of one history. The first broken promise ends it."""

    def __init__(self, world: World, place: Place, settings: Settings) -> None:
        self.world = world
        self.settings = settings
        self.clock = StoreClock(world)
        """The store's, and whether it was ever set."""
        self.store_was_set = False
        self.error: Exception | None = None
        """What went wrong with the judge itself."""
        self._place = place
        self.happened: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.broken: list[Broken] = []
        self.rows: dict[str, Row] = {}
        self.acknowledged: set[str] = set()
        self.gone: dict[str, Row] = {}
        """The last state of what was pruned."""
        self.calls: list[Call] = []
        self.trusted: dict[Lease, float] = {}
        """Until when the owner of a lease may trust it, on its own boot clock."""
        self.outcomes: set[Lease] = set()
        self.taken: set[Lease] = set()
        """The leases that were taken from their owners, by recovery or by force."""
        self.cancelled: dict[str, tuple[CancelResult, int]] = {}
        self.revived: dict[str, int] = {}
        """The fence at the last revival."""
        self.may_revive: set[str] = set()
        self.may_cancel: set[str] = set()
        """The tasks of which that was asked: nobody else may change what is over, or take a run."""
        self.forced: set[Lease] = set()
        self.wild_clocks = False
        self._claims: set[Lease] = set()
        self._calls_by_lease: dict[Lease, Call] = {}
        self._live: dict[Lease, tuple[Machine, Run]] = {}

    def hold(self, promise: str, kept: bool, *about: object) -> None:
        """Check a promise."""
        self.checked[promise] += 1
        if not kept:
            text = " ".join(map(str, about))
            self.broken.append(Broken(promise, self.world.now_s, text))
            self.world.tell("judge", f"{promise} is broken: {text}")
            self.world.over = True

    # -- What was committed

    def stumble(self, error: Exception) -> None:
        """Take note of an error of the simulation's own, which ends the history."""
        self.error = self.error or error
        self.world.over = True

    def look(self, verb: str, who: str) -> None:
        """Look at what was committed since the last time."""
        for before, after in self._place.changes():
            row = after or before
            assert row is not None
            self.world.tell(who, f"{verb}: {row.id} is {after or 'gone'}")
            if after is None:
                self._removed(before)
            else:
                self.rows[row.id] = after
                self._changed(before, after)

    def _removed(self, before: Row | None) -> None:
        assert before is not None
        if before.schedule_id is not None and before.state == WAITING:
            self.happened["taken back"] += 1
            del self.rows[before.id]
            return
        self.hold("I1", before.state in ENDS, before.id, "was deleted, and was", before)
        kept_s = self.world.now_s - ((before.finished_at or START_US) - START_US) / SECOND_US
        kept = self.wild_clocks or kept_s >= self.settings.keep_done.total_seconds()
        self.hold("I1", kept, before.id, "was deleted", f"{kept_s:.3f} s after its end")
        self.happened["pruned"] += 1
        self.gone[before.id] = self.rows.pop(before.id)

    def _changed(self, before: Row | None, after: Row) -> None:
        self.hold("I3", (after.state == WORKING) == (after.claim is not None), after.id, "is", after)
        if before is None:
            self.hold("I1", after.id not in self.gone, after.id, "was over, and is there again")
            if after.schedule_id is not None:
                self._made(after)
            self.hold("I2", after.state == WAITING, after.id, "begins as", after)
            return
        about = f"{after.id} was {before} and is {after}"
        self.hold("I3", after.fence == before.fence + _is_claim(before, after), about)
        step = (before.state, after.state)
        if step == (WAITING, WORKING):
            self._claimed(before, after, about)
        elif before.state == WORKING and after.state != WORKING:
            self._ended(before, after, about)
        elif before.state in ENDS:
            self.hold("I2", after.state == WAITING and after.id in self.may_revive, about)
            self.revived[after.id] = after.fence
            self.cancelled.pop(after.id, None)
            self.happened["revived"] += 1
        elif step == (WAITING, CANCELLED):
            by_rule = after.reason == "expired" or (after.schedule_id is not None and after.reason in OVERLAPS)
            self.hold("I2", by_rule or after.id in self.may_cancel, about)
            self.happened["left out for another"] += after.reason in OVERLAPS
            self.happened["expired"] += after.reason == "expired"
        else:
            self.hold("I2", step in ((WAITING, WAITING), (WORKING, WORKING)), about)
            self.hold("I3", after.claim == before.claim, about)

    def _made(self, row: Row) -> None:
        """A task was made of a time of a schedule."""
        assert row.schedule_id is not None
        alike = [one.id for one in (*self.rows.values(), *self.gone.values()) if _same_time(one, row)]
        self.hold("I10", alike == [row.id] and row.id not in self.gone, row.id, "is another task of one time", alike)

    def _claimed(self, before: Row, after: Row, about: str) -> None:
        assert after.claim is not None
        lease = Lease(after.id, after.claim)
        self.hold("I2", before.hold is None and after.attempt == before.attempt + 1, about)
        self.hold("I3", lease not in self._claims and after.owner is not None, about)
        self._claims.add(lease)
        if after.overlap is not None:
            beside = [one.id for one in self.rows.values() if one.schedule_id == after.schedule_id]
            working = [
                task_id for task_id in beside if self.rows[task_id].state == WORKING and self.rows[task_id].overlap
            ]
            self.hold("I12", working == [after.id], about, "beside", working)

    def _ended(self, before: Row, after: Row, about: str) -> None:
        """A run's row is no longer its own: it was finished, or taken over."""
        assert before.claim is not None
        lease = Lease(before.id, before.claim)
        lost, finished = after.lost == before.lost + 1, after.final_claim == before.claim
        self.hold("I2", after.lost == before.lost or lost, about)
        self.hold("I13", not (before.cancel_requested and after.state == WAITING), about)
        if lost:
            self._recovered(before, after, about)
            self.taken.add(lease)
        elif finished:
            self.hold("I4", lease not in self.outcomes and lease not in self.taken, about)
            self.outcomes.add(lease)
            if after.state == DONE:
                self._done(lease, about)
        else:
            self.hold("I4", after.state == CANCELLED and after.id in self.may_cancel, about)
            self.taken.add(lease)
            self.forced.add(lease)
            self.happened["cancelled by force"] += 1

    def _done(self, lease: Lease, about: str) -> None:
        call, (_, run) = self._calls_by_lease.get(lease), self._live.get(lease, (None, None))
        completing = run is not None and run.completing
        self.hold(
            "I4", call is not None and (call.how == "returned" or completing), about, "and the work did not return"
        )

    def _recovered(self, before: Row, after: Row, about: str) -> None:
        self.happened["recovered"] += 1
        lease = Lease(before.id, before.claim or "")
        if (owner := self._live.get(lease)) is not None:
            left_s = self.trusted[lease] - owner[0].loop.boot_s()
            self.hold("I7", left_s <= 0, about, f"{left_s:.3f} s before its owner mistrusts it")
        if before.cancel_requested:
            self.hold("I13", after.state == CANCELLED, about)
        elif before.mode == Mode.AT_MOST_ONCE or after.lost >= after.max_lost:
            self.hold("I5", before.mode == Mode.AT_LEAST_ONCE or after.state == FAILED, about)
            self.hold("I21", after.state == FAILED, about)
        else:
            self.hold("I6", after.state == WAITING and after.attempt == before.attempt - 1, about)

    # -- What was promised to a process

    def asks(self, name: str, unwritten: int) -> None:
        """A process asks for tasks, and has so many outcomes in its outbox."""
        full = unwritten >= self.settings.outbox_max
        self.hold("I15", not full, name, "claims, though", unwritten, "outcomes are not written")

    def handed_out(self, request: ClaimRequest, answer: ClaimAnswer, sent_s: float) -> None:
        """A claim was committed; it was asked for at this time on its owner's boot clock."""
        tasks = answer.tasks
        self.hold("I15", len(tasks) <= request.slots + request.buffer, request.node_id, "got", len(tasks))
        picky = [task for task in tasks if task.lost or self.rows[task.id].mode == Mode.AT_MOST_ONCE]
        self.hold("I15", len(picky) <= request.slots, request.node_id, "got", len(picky), "that need a slot at once")
        lost = sum(task.lost > 0 for task in tasks)
        self.hold("I21", lost <= request.lost_max, request.node_id, "got", lost, "that were lost before")
        ranks = [self.rows[task.id].rank for task in tasks]
        turns = [(t.due_at + rank * request.ageing_us, rank, t.id) for t, rank in zip(tasks, ranks, strict=True)]
        self.hold("I14", turns == sorted(turns), request.node_id, "got what is not first beforehand")
        for task in tasks:
            early_us = task.due_at - answer.now
            self.hold("I9", early_us <= request.ahead_us, task.id, "was handed out", early_us, "µs early")
            self.extended(Lease(task.id, answer.claim), sent_s)

    def beaten(self, answers: list[Beaten], sent_s: float) -> None:
        for one in answers:
            if one.extended:
                self.extended(Lease(one.id, one.claim), sent_s)

    def extended(self, lease: Lease, sent_s: float) -> None:
        until_s = sent_s + self.settings.ttl_s - self.settings.margin_s
        self.trusted[lease] = max(self.trusted.get(lease, 0.0), until_s)

    def decided(self, machine: MachineClock, name: str, changes: Sequence[ScheduleChange]) -> None:
        """A machine decided about times of schedules: none is missed before it has come."""
        now_us, knows = self.clock.wall_us(), self.world.now_s > machine.set_s + KNOWN_S
        for row in (
            row for change in changes for row in change.ledger if row.reason not in (Reason.MADE, Reason.TRIGGERED)
        ):
            early_s = (row.last - now_us) / SECOND_US
            held = self.store_was_set or not knows or early_s <= self.settings.rpc_s
            self.hold("I11", held, name, f"takes for {row.reason} what comes in {early_s:.1f} s")

    def told_of_cancel(self, answer: CancelAnswer) -> None:
        """A cancellation was acknowledged."""
        self.happened[f"cancel {answer.result}"] += 1
        row = self.rows.get(answer.id)
        if row is None or answer.result not in (CancelResult.CANCELLED, CancelResult.REQUESTED):
            return
        if row.state != WAITING:  # else it was revived before the answer came
            self.cancelled[answer.id] = answer.result, row.fence

    # -- What was called

    def begins(self, machine: Machine, run: Run) -> Call:
        """Work is called."""
        lease = Lease(run.task_id, run.claim)
        call = Call(run.task_id, run.fence, run.claim, machine.name, self.world.now_s)
        self.world.tell(machine.name, f"calls {run.task_id}, fence {run.fence}")
        row = self.rows.get(run.task_id)
        self.hold("I3", lease in self.trusted and row is not None, machine.name, "calls", run, "without a claim")
        if row is not None:
            self._may_start(machine, run, row)
            self._check_once(run, row)
            self._check_overlaps(machine, run)
            self._check_room(machine, run)
        self.calls.append(call)
        self._calls_by_lease[lease] = call
        self._live[lease] = machine, run
        machine.live[lease] = run
        return call

    def ends(self, machine: Machine, call: Call, how: str) -> None:
        """Work has returned, or raised."""
        call.ended_s, call.how = self.world.now_s, how
        self.world.tell(machine.name, f"has {how} from {call.task_id}, fence {call.fence}")
        self._live.pop(call.lease, None)
        machine.live.pop(call.lease, None)

    def vanished(self, machine: Machine) -> None:
        """A process is gone, and whatever ran in it."""
        for lease in machine.live:
            call = self._calls_by_lease[lease]
            call.ended_s, call.how = self.world.now_s, "gone"
            self._live.pop(lease, None)
        machine.live.clear()

    def _may_start(self, machine: Machine, run: Run, row: Row) -> None:
        until_s = self.trusted.get(Lease(run.task_id, run.claim), 0.0)
        self.hold("I7", machine.loop.boot_s() < until_s, machine.name, "calls", run, "beyond its lease")
        if not self.wild_clocks and row.claim == run.claim:
            early_s = self.due_in_s(row)
            self.hold("I9", early_s <= EPSILON_S, machine.name, "calls", run, f"{early_s:.6f} s early")
        result, fence = self.cancelled.get(run.task_id, (None, 0))
        self.hold("I13", run.fence <= fence or result is None, machine.name, "calls", run, "after", result)

    def _check_once(self, run: Run, row: Row) -> None:
        if run.task.mode == Mode.AT_MOST_ONCE:
            born = self.revived.get(run.task_id, 0)
            earlier = [one for one in self.calls_of(run.task_id) if one.fence > born]
            self.hold("I5", not earlier, run, "is called again")
        self.hold("I22", not run.task_id.startswith("other"), run, "is of another namespace")

    def _check_overlaps(self, machine: Machine, run: Run) -> None:
        for lease, (where, other) in self._live.items():
            if lease.id != run.task_id or lease in self.forced or lease in self.outcomes:
                continue
            self.happened["overlap"] += 1
            beyond_s = where.loop.boot_s() - self.trusted[lease]
            about = (machine.name, "calls", run, "while", where.name, "runs", other, f"{beyond_s:.3f} s past its lease")
            told = other.interrupt is not None or other.completing or not where.awake
            self.hold("I7", beyond_s >= 0 and (told or beyond_s < self.settings.margin_s), *about)

    def _check_room(self, machine: Machine, run: Run) -> None:
        live, runs = machine.live.values(), machine.engine.runs
        self.hold("I15", len(machine.live) < WORKERS, machine.name, "runs", len(live), "already")
        self.hold("I15", len(runs) <= WORKERS + BUFFER_MIN, machine.name, "holds", len(runs), "runs")
        alone = not run.task.lost or not any(one.task.lost for one in live)
        self.hold("I21", alone, machine.name, "calls", run, "beside another that was lost before")

    def due_in_s(self, row: Row) -> float:
        return (row.due_at - START_US) / SECOND_US - self.world.now_s

    def calls_of(self, task_id: str) -> list[Call]:
        return [call for call in self.calls if call.task_id == task_id]


def _same_time(one: Row, row: Row) -> bool:
    return one.schedule_id == row.schedule_id and one.nominal == row.nominal


def _is_claim(before: Row, after: Row) -> bool:
    return before.state == WAITING and after.state == WORKING
