"""The drawing of a task's life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kokugen.cli.timeline import timeline
from kokugen.task import Attempt, TaskInfo, TaskState

START = datetime(2026, 12, 24, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def told(lines: list[str]) -> list[str]:
    return [line.partition("●  ")[2] for line in lines if "●" in line]


def test_a_done_task_was_created_due_claimed_started_and_finished() -> None:
    info = TaskInfo(
        work_id="remind",
        scheduled_time=at(300),
        state=TaskState.DONE,
        fence=1,
        created_at=at(0),
        claimed_at=at(299.98),
        started_at=at(300.001),
        finished_at=at(301.5),
    )
    lines = list(timeline(info, [], at(400)))
    assert told(lines) == ["created", "claimed", "due", "started", "Done"]
    assert lines[1].endswith("│  5 min")


def test_a_waiting_task_looks_ahead() -> None:
    info = TaskInfo(work_id="remind", scheduled_time=at(300), due_at=at(300), created_at=at(0))
    assert told(list(timeline(info, [], at(100)))) == ["created", "now", "due"]


def test_each_failed_attempt_is_drawn_once() -> None:
    attempts = [
        Attempt(fence=1, attempt=1, outcome="retry", started_at=at(1), finished_at=at(2), error="…\nOSError: no"),
        Attempt(fence=2, attempt=2, outcome="failed", started_at=at(5), finished_at=at(6)),
    ]
    info = TaskInfo(
        work_id="remind", scheduled_time=at(1), state=TaskState.FAILED, fence=2, started_at=at(5), finished_at=at(6)
    )
    assert told(list(timeline(info, attempts, at(9)))) == [
        "due",
        "attempt 1 started",
        "attempt 1: retry: OSError: no",
        "attempt 2 started",
        "attempt 2: failed",
    ]


def test_a_retry_to_come_is_due_again() -> None:
    info = TaskInfo(work_id="remind", scheduled_time=at(0), due_at=at(60), attempt=1, fence=1)
    assert told(list(timeline(info, [], at(30)))) == ["due", "now", "due again"]
