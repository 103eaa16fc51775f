"""What a cluster in peace promises of time: looked at by one of these after each history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kokugen.clock import SECOND_US
from kokugen.engine.claims import BACKOFF_S_MAX
from kokugen.repository.rows import NewTask
from tests.simulation.judge import EPSILON_S, WAITING
from tests.simulation.machine import DRIFT, RESTART_S
from tests.simulation.works import param_of
from tests.simulation.world import START_US

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

ROUND_TRIP_S = 0.02
"""At most, in peace; with the turns that the loop takes."""
KNOWN_S, LATE_S = 0.7, 0.003
"""So long before its time a task is known of, and so late it may start: a way there and back, and by how much the timer
of a machine is slow that waits for it."""


def calm(cluster: Cluster) -> None:
    """Have two machines or more and no delay on any wire; one that stays broken may claim and not hear: it goes."""
    if cluster.minority is not None and cluster.minority.alive:
        cluster.minority.crash()
    while len(cluster.healthy()) < 2:
        cluster.boot()
    for machine in cluster.healthy():
        machine.wire.calm = True
    cluster.world.run_until(cluster.world.now_s + 6.0)


def _add(cluster: Cluster, name: str, due_in_s: float, seconds: float = 0.0) -> str:
    due = START_US + round((cluster.world.now_s + due_in_s) * SECOND_US)
    task = NewTask(
        id=f"polite-{name}", work_id="polite", due_at=due, scheduled_time=due, param=param_of("polite", seconds)
    )
    cluster.add(task)
    return task.id


def _started_s(cluster: Cluster, task_id: str, within_s: float) -> float:
    """Return when it started; what does not within this time, never did."""
    cluster.world.run_until(cluster.world.now_s + within_s)
    calls = cluster.judge.calls_of(task_id)
    return calls[0].started_s if calls else float("inf")


def on_time(cluster: Cluster) -> None:
    """I18: known of before, a task starts at its time; hinted of when it is due, after a round trip."""
    calm(cluster)
    due_s = cluster.world.now_s + KNOWN_S
    late_s = _started_s(cluster, _add(cluster, "known", KNOWN_S), 2.0) - due_s
    cluster.judge.hold("I18", -EPSILON_S <= late_s <= LATE_S + KNOWN_S * DRIFT, f"{late_s:.4f} s late")
    now_s = cluster.world.now_s
    late_s = _started_s(cluster, _add(cluster, "sudden", 0.0), 2.0) - now_s
    cluster.judge.hold("I18", 0 <= late_s <= 2 * ROUND_TRIP_S, f"{late_s:.4f} s after it was asked for")


def without_hints(cluster: Cluster) -> None:
    """I14: where no hint comes, the poll finds it."""
    calm(cluster)
    for machine in cluster.healthy():
        machine.wire.hints = ("lost",)
    now_s, poll_s = cluster.world.now_s, cluster.judge.settings.poll_s
    late_s = _started_s(cluster, _add(cluster, "silent", 0.0), 3.0) - now_s
    cluster.judge.hold("I14", late_s <= poll_s * (1 + 2 * DRIFT) + 2 * ROUND_TRIP_S, f"{late_s:.4f} s late")


def recovery_s(cluster: Cluster) -> float:
    """Return within which time a run can be claimed again whose process is dead, by the slowest clock there is."""
    settings = cluster.judge.settings
    return (settings.ttl_s + 2 * settings.watch_s) * (1 + 2 * DRIFT) + 1.0


def after_a_death(cluster: Cluster) -> None:
    """I17: a run whose process died can be claimed again in time."""
    calm(cluster)
    task_id = _add(cluster, "orphan", 0.0, 60.0)
    cluster.world.run_until(cluster.world.now_s + 1.0)
    owner = next(
        (one for one in cluster.healthy() if one.storage.node.node_id == cluster.judge.rows[task_id].owner), None
    )
    cluster.judge.hold("I18", owner is not None, task_id, "has not started for a second")
    if owner is None:
        return
    owner.crash()
    died_s, row = cluster.world.now_s, cluster.judge.rows[task_id]
    while cluster.judge.rows[task_id].fence == row.fence and cluster.world.now_s < died_s + 2 * recovery_s(cluster):
        if cluster.judge.rows[task_id].state == WAITING or cluster.world.over:
            break
        cluster.world.run_until(cluster.world.now_s + 0.05)
    took_s = cluster.world.now_s - died_s
    cluster.judge.hold("I17", took_s <= recovery_s(cluster), f"{took_s:.2f} s after the death of its process")


def after_an_outage(cluster: Cluster) -> None:
    """I19: what became due while the store was away starts as soon as it is back."""
    calm(cluster)
    task_id = _add(cluster, "overdue", 3.0)
    cluster.world.run_until(cluster.world.now_s + 1.0)
    for machine in cluster.healthy():
        machine.wire.lost = ("request", "answer")
    cluster.world.run_until(cluster.world.now_s + 20.0)
    for machine in cluster.healthy():
        machine.wire.lost = ()
    now_s = cluster.world.now_s
    late_s = _started_s(cluster, task_id, 30.0) - now_s
    allowed_s = (BACKOFF_S_MAX + RESTART_S + 2 * cluster.judge.settings.rpc_s) * (1 + 2 * DRIFT)
    cluster.judge.hold("I19", late_s <= allowed_s, f"{late_s:.2f} s after the store was back")


PROBES: tuple[Callable[[Cluster], None], ...] = (on_time, without_hints, after_a_death, after_an_outage)
