"""What happens in a history: the tasks of clients, what races with them, and every trouble that the world makes.

Each deed draws what it needs from a seed of its own, counts itself, and does nothing where there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from kokugen.clock import SECOND_US
from kokugen.repository.rows import CancelAnswer, CancelRequest, NewTask, Revision
from kokugen.task import Mode
from tests.simulation.judge import CANCELLED, ENDS, WAITING, WORKING
from tests.simulation.machine import Machine
from tests.simulation.places import Row
from tests.simulation.works import KINDS, param_of
from tests.simulation.world import START_US

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

Deeds = Callable[["Cluster", Random], object]

DEEDS: dict[str, Deeds] = {}
WAYS = (("request",), ("answer",), ("silence",), ("request", "answer", "silence", ""))
LOST_MAX = 60
"""How often most tasks may be lost: more often than they are. Poison has the default."""


def deed(name: str) -> Callable[[Deeds], Deeds]:
    def enter(do: Deeds) -> Deeds:
        DEEDS[name] = do
        return do

    return enter


# -- Tasks


def _new(cluster: Cluster, kind: str, random: Random, **about: object) -> NewTask:
    now_us = START_US + round(cluster.world.now_s * SECOND_US)
    due = now_us + round(random.choice([0.0, 0.0, random.uniform(0, 8)]) * SECOND_US)
    seconds = random.choice([0.0, 0.01, 0.5, 3.0, random.uniform(4, 15)])
    once = random.random() < 0.25 and kind not in ("poison", "flaky")
    deadline = due + round(random.uniform(0.5, 6) * SECOND_US) if random.random() < 0.08 else None
    values = {
        "id": f"{kind}-{random.getrandbits(40):010x}",
        "work_id": kind,
        "due_at": due,
        "scheduled_time": due,
        "rank": -random.randrange(4),
        "param": param_of(kind, seconds),
        "mode": Mode.AT_MOST_ONCE if once else Mode.AT_LEAST_ONCE,
        "max_attempts": 3 if kind == "flaky" else 1,
        "max_lost": 3 if kind == "poison" else LOST_MAX,
        "start_deadline": deadline,
    }
    return NewTask(**values | about)  # type: ignore[arg-type]  # the fields are told apart by their names


@deed("task")
def _task(cluster: Cluster, random: Random) -> None:
    cluster.add(_new(cluster, random.choice(KINDS), random))


@deed("crowd")
def _crowd(cluster: Cluster, random: Random) -> None:
    """Add so many at once that they have to wait for slots."""
    for _ in range(random.randrange(8, 25)):
        cluster.add(_new(cluster, "polite", random, param=param_of("polite", random.uniform(0, 0.3))))


@deed("poison")
def _poison(cluster: Cluster, random: Random) -> None:
    cluster.add(_new(cluster, "poison", random))


@deed("stranger")
def _stranger(cluster: Cluster, random: Random) -> None:
    cluster.judge.happened["stranger"] += 1
    cluster.add(_new(cluster, "stranger", random, start_deadline=None))


@deed("garbled")
def _garbled(cluster: Cluster, random: Random) -> None:
    cluster.judge.happened["garbled"] += 1
    cluster.add(_new(cluster, "garbled", random))


@deed("schedule")
def _schedule(cluster: Cluster, random: Random) -> None:
    cluster.timetable.put(random)


@deed("edit schedule")
def _edit_schedule(cluster: Cluster, random: Random) -> None:
    cluster.timetable.edit(random)


@deed("pause schedule")
def _pause_schedule(cluster: Cluster, random: Random) -> None:
    cluster.timetable.pause(random, random.uniform(1, 10))


@deed("trigger schedule")
def _trigger_schedule(cluster: Cluster, random: Random) -> None:
    cluster.timetable.trigger(random)


@deed("transaction")
def _transaction(cluster: Cluster, random: Random) -> None:
    cluster.add(_new(cluster, "transfer", random))


# -- What races with them


def _one(cluster: Cluster, random: Random, *states: int) -> Row | None:
    rows = [row for row in cluster.judge.rows.values() if row.state in states]
    return random.choice(rows) if rows else None


@deed("cancel")
def _cancel(cluster: Cluster, random: Random) -> None:
    if (row := _one(cluster, random, WAITING, WORKING, WORKING)) is not None:
        cluster.judge.may_cancel.add(row.id)
        reply = cluster.wire.cancel(CancelRequest(ids=(row.id,), force=random.random() < 0.3))
        cluster.ask(reply, lambda answers: cluster.judge.told_of_cancel(answers[0]))


@deed("cancel at home")
def _cancel_at_home(cluster: Cluster, random: Random) -> None:
    """Cancel a run in the process that it is in, as its own scheduler does: the engine is told at once."""
    machine = cluster.some(random)
    if machine is None or not machine.engine.runs:
        return
    lease = random.choice(list(machine.engine.runs))
    cluster.judge.may_cancel.add(lease.id)

    def drop(answers: list[CancelAnswer]) -> None:
        (answer,) = answers
        cluster.judge.told_of_cancel(answer)
        if answer.owner == machine.name and answer.claim is not None:
            cluster.judge.happened["dropped at home"] += 1
            machine.loop.call_soon(machine.engine.drop, answer.id, answer.claim, "at home")

    cluster.ask(machine.wire.cancel(CancelRequest(ids=(lease.id,), force=random.random() < 0.2)), drop)


def _due(cluster: Cluster, random: Random) -> int:
    return START_US + round((cluster.world.now_s + random.uniform(0, 5)) * SECOND_US)


def _revise(cluster: Cluster, row: Row, revision: Revision, name: str) -> None:
    def count(_: int) -> None:
        cluster.judge.happened[name] += 1

    cluster.ask(cluster.wire.revise(row.id, revision), count)


@deed("move")
def _move(cluster: Cluster, random: Random) -> None:
    if (row := _one(cluster, random, WAITING, WORKING)) is not None:
        rev = row.rev if random.random() < 0.3 else None
        _revise(cluster, row, Revision(due_at=_due(cluster, random), rev=rev), "moved")


@deed("edit")
def _edit(cluster: Cluster, random: Random) -> None:
    if (row := _one(cluster, random, WAITING)) is not None and row.id.startswith("polite"):
        _revise(cluster, row, Revision(rank=-random.randrange(4), param=param_of("polite", 0.2)), "edited")


@deed("hold")
def _hold(cluster: Cluster, random: Random) -> None:
    if (row := _one(cluster, random, WAITING)) is not None and row.hold is None:
        _revise(cluster, row, Revision(hold="by hand"), "held")
        cluster.after(random.uniform(0, 8), lambda: _revise(cluster, row, Revision(release=True), "let go"))


@deed("recall")
def _recall(cluster: Cluster, random: Random) -> None:
    """Take back a run that has not started, to have it start later."""
    machine = cluster.some(random)
    waiting = [] if machine is None else [lease for lease, run in machine.engine.runs.items() if not run.begun]
    if machine is None or not waiting or machine.loop.paused:
        return
    if machine.engine.recall(random.choice(waiting).id, _due(cluster, random)) is not None:
        cluster.judge.happened["recalled"] += 1


@deed("revive")
def _revive(cluster: Cluster, random: Random) -> None:
    if (row := _one(cluster, random, *ENDS)) is not None and not row.id.startswith(("poison", "transfer")):
        cluster.judge.may_revive.add(row.id)
        cluster.wire.revive([row.id])


@deed("add again")
def _add_again(cluster: Cluster, random: Random) -> None:
    """Repeat an insert, as a client does that heard nothing of it: whatever became of the task, it stays that."""
    row = _one(cluster, random, WAITING, WORKING, *ENDS)
    if row is not None and row.schedule_id is None and (row.state not in ENDS or row.state == CANCELLED):
        again = _new(cluster, row.id.partition("-")[0], random, id=row.id)
        cluster.ask(
            cluster.wire.add([again]),
            lambda answers: cluster.judge.hold("I1", answers[0].result != 0, row.id, "was added twice"),
        )


# -- Trouble


@deed("crash")
def _crash(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        cluster.judge.happened["crash"] += 1
        cluster.crash(machine, random)


@deed("crash at an await")
def _crash_at_an_await(cluster: Cluster, random: Random) -> None:
    """Have it die at one of its next calls, before or after that is sent."""
    if (machine := cluster.some(random)) is not None:
        machine.wire.fuse = random.randrange(1, 25)

        def burn() -> None:
            cluster.judge.happened["crash at an await"] += 1
            cluster.crash(machine, random)

        machine.wire.cut = burn


def _still(cluster: Cluster, machine: Machine, span_s: float, name: str) -> None:
    cluster.judge.happened[name] += 1
    cluster.world.tell(machine.name, f"{name} for {span_s:.1f} s")
    machine.pause() if name == "pause" else machine.loop.sleep()
    cluster.after(span_s, machine.resume)


@deed("pause")
def _pause(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        _still(cluster, machine, random.uniform(0.2, 16), "pause")


@deed("suspend")
def _suspend(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        _still(cluster, machine, random.uniform(0.2, 16), "suspend")


@deed("suspend all")
def _suspend_all(cluster: Cluster, random: Random) -> None:
    span_s = random.uniform(1, 20)
    for machine in cluster.machines:
        if machine.alive:
            _still(cluster, machine, span_s, "suspend all")


def _lose(cluster: Cluster, machine: Machine, random: Random, span_s: float, only: tuple[str, ...] = ()) -> None:
    ways = random.choice(WAYS)
    machine.wire.lost, machine.wire.only = ways, only
    told = f"{' or '.join(ways)} lost" + (f" of {', '.join(only)}" if only else "")
    cluster.world.tell(machine.name, f"{told} for {span_s:.1f} s")

    def mend() -> None:
        machine.wire.lost, machine.wire.only = (), ()

    cluster.after(span_s, mend)


@deed("cut off")
def _cut_off(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        cluster.judge.happened["cut off"] += 1
        _lose(cluster, machine, random, random.uniform(0.2, 14))


@deed("unwritable")
def _unwritable(cluster: Cluster, random: Random) -> None:
    """Only outcomes cannot be written, so that they gather in the outbox."""
    if (machine := cluster.some(random)) is not None:
        cluster.judge.happened["unwritable"] += 1
        _lose(cluster, machine, random, random.uniform(2, 14), ("finish",))


@deed("outage")
def _outage(cluster: Cluster, random: Random) -> None:
    cluster.judge.happened["outage"] += 1
    span_s = random.uniform(0.2, 10)
    for machine in cluster.machines:
        _lose(cluster, machine, random, span_s)
    cluster.wire.lost = ("request",)
    cluster.after(span_s, lambda: setattr(cluster.wire, "lost", ()))


@deed("slow")
def _slow(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        machine.wire.slow_s = random.choice([0.5, 2.0, 5.0])
        cluster.after(random.uniform(1, 10), lambda: setattr(machine.wire, "slow_s", 0.0))


def _stop_with(cluster: Cluster, random: Random, grace_s: float, name: str) -> None:
    if (machine := cluster.some(random)) is None:
        return
    cluster.judge.happened[name] += 1
    cluster.world.tell(machine.name, f"{name}, within {grace_s} s")
    machine.loop.call_soon(machine.engine.request_stop, grace_s)
    machine.ended.add_done_callback(lambda _: cluster.world.after(random.uniform(0, 3), machine.crash))
    cluster.after(random.uniform(1, 12), cluster.boot)


@deed("stop")
def _stop(cluster: Cluster, random: Random) -> None:
    _stop_with(cluster, random, random.choice([2.0, 10.0]), "stop")


@deed("stop at once")
def _stop_at_once(cluster: Cluster, random: Random) -> None:
    _stop_with(cluster, random, 0.0, "stop at once")


@deed("replace")
def _replace(cluster: Cluster, random: Random) -> None:
    """Start another process while this one stands still, and stop it again soon: what an orchestrator may do."""
    if (machine := cluster.some(random)) is None:
        return
    cluster.judge.happened["replaced"] += 1
    _still(cluster, machine, random.uniform(4, 16), "pause")
    other = cluster.boot()
    cluster.after(random.uniform(0.5, 3), lambda: other.loop.call_soon(other.engine.request_stop, 1.0))


@deed("deafen")
def _deafen(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        machine.wire.hints = ("lost",)
        cluster.after(random.uniform(2, 12), lambda: setattr(machine.wire, "hints", ()))


@deed("mislead")
def _mislead(cluster: Cluster, random: Random) -> None:
    if (machine := cluster.some(random)) is not None:
        machine.wire.hints = ("twice", "late", "")
        cluster.after(random.uniform(2, 12), lambda: setattr(machine.wire, "hints", ()))


def _step(cluster: Cluster, wrong_s: float, machines: list[Machine]) -> None:
    for machine in machines:
        machine.clock.set(wrong_s)


@deed("clock step")
def _clock_step(cluster: Cluster, random: Random) -> None:
    """Somebody sets the wall clock of a machine; of all, and of the store, where they are one machine."""
    machine = cluster.some(random)
    if machine is None or cluster.plan.sqlite:
        _store_clock_step(cluster, random)
        return
    cluster.judge.happened["clock step"] += 1
    _step(cluster, random.choice([random.uniform(-20, 20), random.uniform(-1, 1), 3600.0, -3600.0]), [machine])


@deed("store clock step")
def _store_clock_step(cluster: Cluster, random: Random) -> None:
    cluster.judge.happened["store clock step"] += 1
    cluster.clock.wrong_s = random.uniform(-15, 15)
    cluster.judge.store_was_set = True
    if cluster.plan.sqlite:
        _step(cluster, cluster.clock.wrong_s, cluster.machines)
