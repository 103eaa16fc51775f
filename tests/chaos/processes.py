"""Processes that are killed, stopped for longer than their leases last, or restarted one after the other."""

from __future__ import annotations

from collections import Counter

from kokugen import TaskState
from kokugen.task import Mode
from tests.chaos.stage import PROTOCOL, Findings, Load, Stage, findings, proven
from tests.faults.crew import Crew, await_until
from tests.faults.ground import Ground, PostgresGround, SqliteGround
from tests.faults.journal import REFUSED, START, boot_ns
from tests.faults.judge import Case, Kind, Verdict
from tests.faults.worker import serve, serve_async

WORKERS = 4
TASKS_A_KILL = 20
STOPPED_AT_ONCE, WITNESSES = 10, 3
STOPPED_FOR_S = PROTOCOL["ttl_s"] + 1.0
LOOK_S = 0.1


# -- kill -9


def kill_on_sqlite(stage: Stage, count: int) -> Findings:
    return kill(stage, SqliteGround(stage.folder), count)


def kill_on_postgres(stage: Stage, count: int) -> Findings:
    with stage.server() as server:
        return kill(stage, PostgresGround(server.url, stage.folder), count)


def kill(stage: Stage, ground: Ground, count: int) -> Findings:
    """Kill workers amid their runs, up to three at once."""
    random = stage.random
    with stage.crew(ground, watch_s=0.2) as crew:
        crew.start(WORKERS)
        while (left := count - len(crew.killed)) > 0:
            victims = min(left, random.randint(1, WORKERS - 1))
            lines = len(crew.journal) + random.randrange(2, TASKS_A_KILL)
            crew.ask([stage.step(0.3) for _ in range(TASKS_A_KILL * victims)])
            crew.await_lines(lines)
            for _ in range(victims):
                crew.kill(random.randrange(len(crew.alive)))
            crew.start(victims)
            stage.say(f"{len(crew.killed)} of {count} kills, {len(crew.asked)} tasks")
        crew.drain()
        return shown_by_kills(crew.case(), count)


def shown_by_kills(case: Case, count: int) -> Findings:
    runs = Counter(entry.task_id for entry in case.entries if entry.event == START)
    rerun = sum(times > 1 for times in runs.values())
    failed = [info for info in case.tasks.values() if info.state is TaskState.FAILED]
    cut_off = sum(info.mode is Mode.AT_MOST_ONCE for info in failed)
    return proven(findings(case, count), reruns=rerun, at_most_once_cut_off=cut_off)


# -- SIGSTOP


def pause(stage: Stage, count: int) -> Findings:
    """Stop workers amid their runs until all that they held was taken from them, and let them go on."""
    with stage.server() as server, stage.crew(PostgresGround(server.url, stage.folder)) as crew:
        crew.start(WITNESSES + min(count, STOPPED_AT_ONCE))
        crew.await_nodes(len(crew.alive))
        done = 0
        with Load(crew, lambda: [stage.step(0.5, longest_us=300_000) for _ in range(12)], 0.2):
            while done < count:
                crew.await_lines(len(crew.journal) + 100)
                done += pause_some(stage, crew, min(count - done, STOPPED_AT_ONCE))
                stage.say(f"{done} of {count} stops, {len(crew.asked)} tasks")
        crew.drain()
        case = crew.case()
    refused = sum(entry.event == REFUSED for entry in case.entries)
    return proven(findings(case, count), late_marks_refused=refused)


def pause_some(stage: Stage, crew: Crew, count: int) -> int:
    stopped = [crew.pause(index) for index in stage.random.sample(range(len(crew.alive)), count)]
    until_ns = boot_ns() + int(STOPPED_FOR_S * 1e9)
    await_until(lambda: boot_ns() > until_ns and not held_by(crew, stopped), "the takeover of all runs", LOOK_S)
    for pid in stopped:
        crew.resume(pid)
    return count


def held_by(crew: Crew, pids: list[int]) -> bool:
    nodes = {node.node_id for node in crew.scheduler.nodes() if node.pid in pids}
    return any(info.owner in nodes for info in crew.scheduler.tasks(state=TaskState.WORKING))


# -- SIGTERM


def roll(stage: Stage, count: int) -> Findings:
    """Restart workers one after the other, under load whose runs are shorter than the grace period."""
    codes: list[int | None] = []
    with stage.server() as server, stage.crew(PostgresGround(server.url, stage.folder)) as crew:
        crew.start(2)
        crew.await_nodes(2)
        with Load(crew, lambda: [stage.step(0.3, longest_us=50_000) for _ in range(10)], 0.05):
            for restart in range(count):
                crew.start(worker=serve_async if restart % 2 else serve)
                crew.await_nodes(3 + restart)
                codes.append(crew.dismiss(stage.random.randrange(2)))
                stage.say(f"{restart + 1} of {count} restarts, {len(crew.asked)} tasks")
        crew.drain()
        case = crew.case()
    return shown_by_restarts(case, codes)


def shown_by_restarts(case: Case, codes: list[int | None]) -> Findings:
    """Nothing may be run twice here, not even where it could be explained."""
    found = findings(case, len(codes))
    runs = Counter(entry.task_id for entry in case.entries if entry.event == START)
    again = [Verdict(Kind.DOUBLED, f"{task_id}: {times} runs") for task_id, times in runs.items() if times > 1]
    bad = [Verdict(Kind.UNEXPLAINED, f"a worker ended with exit code {code}") for code in codes if code != 0]
    return Findings(count=found.count, tasks=found.tasks, verdicts=[*found.verdicts, *again, *bad])
