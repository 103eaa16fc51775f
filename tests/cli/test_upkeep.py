"""`kokugen prune`, `migrate` and `health`."""

from __future__ import annotations

from datetime import UTC, datetime

from kokugen import Scheduler

from .conftest import Add, CommandLine


def test_prune_deletes_what_ended_and_nothing_else(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    waiting, ended = add(), add()
    scheduler.cancel(ended)
    assert kokugen.json("prune", "--older-than", "1h") == {"deleted": 0}
    assert kokugen.json("prune", "--older-than", "0s", "--state", "done") == {"deleted": 0}
    assert kokugen.json("prune", "--older-than", "0s", "--state", "cancelled") == {"deleted": 1}
    assert [info.id for info in scheduler.tasks()] == [waiting]


def test_prune_without_a_span_keeps_what_ended_lately(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    scheduler.cancel(add())
    assert kokugen.done("prune") == "0 tasks deleted\n"


def test_migrate_makes_the_store_and_says_both_versions(kokugen: CommandLine) -> None:
    assert kokugen.json("migrate")["before"] is None
    again = kokugen.json("migrate")
    assert again["before"] == again["after"]
    assert "schema" in kokugen.done("migrate")


def test_a_store_without_overdue_tasks_is_well(kokugen: CommandLine, add: Add) -> None:
    add()
    health = kokugen.json("health")
    assert health["healthy"] is True
    assert health["durable"] is True
    assert health["problems"] == []
    assert "well" in kokugen.done("health")


def test_a_task_that_nobody_starts_is_not_well(kokugen: CommandLine, add: Add) -> None:
    add(scheduled_time=datetime(2020, 1, 1, tzinfo=UTC))
    result = kokugen("health")
    assert result.exit_code == 1
    assert "does a worker run?" in result.output
    assert kokugen("health", "--json").exit_code == 1
    assert kokugen("health", "--late", "9999w").exit_code == 0
