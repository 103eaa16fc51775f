"""What must have come of a history once there is peace: nothing lost, nothing dropped, everything over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokugen.repository.rows import CancelResult, Lease
from kokugen.task import Mode
from tests.simulation.judge import CANCELLED, DONE, ENDS, FAILED, WAITING, Judge
from tests.simulation.places import Row
from tests.simulation.sqlite_place import SqlitePlace

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster


def excused(row: Row) -> bool:
    """Return whether it may stay as it is: over, or nobody can do it."""
    if row.state in ENDS:
        return True
    return row.state == WAITING and (row.id.startswith("stranger") or row.hold == "undecodable")


def judge_end(cluster: Cluster) -> None:
    """Look at every task, every call and every effect."""
    judge = cluster.judge
    for task_id in sorted(judge.acknowledged):
        judge.hold("I1", task_id in judge.rows or task_id in judge.gone, task_id, "is not there")
    for row in [*judge.rows.values(), *judge.gone.values()]:
        _judge_row(judge, row)
    for machine in cluster.healthy():
        _judge_marks(judge, machine.name, [(name, event.run) for name, event in machine.hooks.heard])
        judge.hold("I20", machine.storage.unwritten == 0, machine.name, "has outcomes that are not written")
    judge.hold("I11", cluster.timetable.ended, "nobody decides about a schedule any more")
    if isinstance(cluster.place, SqlitePlace):
        _judge_effects(judge, cluster.place)
    if cluster.plan.wild_clocks:
        judge.hold("I16", not judge.broken, "clocks were set")


def _judge_row(judge: Judge, row: Row) -> None:
    about = (row.id, "is", row)
    kind = row.id.partition("-")[0]
    ended = [call for call in judge.calls_of(row.id) if call.how in ("returned", "raised")]
    promise = "I21" if kind in ("poison", "stranger", "garbled") else "I6"
    judge.hold(promise, excused(row), *about, row.reason)
    if judge.happened["outage"]:
        judge.hold("I19", excused(row), *about)
    if row.state == DONE and kind != "transfer":  # which may have been cut off after its commit
        judge.hold("I6", any(call.fence == row.fence for call in ended), *about, "and its last run did not end")
    if row.state == FAILED:
        judge.hold(promise, _may_fail(row, kind, len(ended)), *about, "because of", row.reason)
    if row.id in judge.cancelled:
        result, _ = judge.cancelled[row.id]
        over = row.state == CANCELLED if result == CancelResult.CANCELLED else row.state in ENDS
        judge.hold("I13", over, *about, "after", result)
    if kind == "poison" and row.state == FAILED:
        judge.hold("I21", row.lost <= row.max_lost, *about)


def _may_fail(row: Row, kind: str, ended: int) -> bool:
    """Return whether there is a reason: every attempt failed, or it was lost and may not be called again."""
    if kind == "flaky" and row.reason != "lost":
        return ended >= row.attempt == row.max_attempts
    if kind == "transfer" and row.reason != "lost":
        return True  # rolled back, which is a failure of its one attempt
    return row.mode == Mode.AT_MOST_ONCE or (row.reason == "lost" and row.lost >= row.max_lost)


def _judge_marks(judge: Judge, name: str, heard: list[tuple[str, object]]) -> None:
    """Every outcome of a process that is alive was applied, or refused and told of; and none of both."""
    told = {Lease(run.task_id, run.claim) for what, run in heard if what == "superseded"}  # type: ignore[attr-defined]
    for call in judge.calls:
        if call.machine != name or call.how not in ("returned", "raised"):
            continue
        applied, taken = call.lease in judge.outcomes, call.lease in judge.taken
        judge.hold("I20", applied or taken, name, "has", call.how, "from", call.task_id, "and wrote no outcome")
        row = judge.rows.get(call.task_id)
        latest = row is not None and row.final_claim == call.claim  # of what came before it the store knows no more
        judge.hold("I20", not latest or call.lease not in told, name, call.task_id, "was applied, and told as refused")
        judge.hold("I20", applied or call.lease in told, name, call.task_id, "was refused, and nobody told of it")


def _judge_effects(judge: Judge, place: SqlitePlace) -> None:
    effects = place.effects()
    for row in [*judge.rows.values(), *judge.gone.values()]:
        if row.id.startswith("transfer"):
            judge.hold(
                "I8", effects.count(row.id) == (row.state == DONE), row.id, "is", row, "with", effects.count(row.id)
            )
