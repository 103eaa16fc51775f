"""`kokugen schedule`."""

from __future__ import annotations

from datetime import UTC, datetime

from kokugen.task import Params, Priority, TaskState

from .conftest import CommandLine


def test_a_task_is_scheduled_in_its_zone_with_all_that_was_said(kokugen: CommandLine) -> None:
    when = ("--at", "2099-12-24T18:00", "--tz", "Europe/Berlin")
    how = ("--queue", "mail", "--priority", "HIGH", "--unique", "ann", "--tag", "xmas", "--id", "tea-1")
    kokugen.done("schedule", "remind", *when, "--arg", "Ann", "--kwarg", "text=Tea = good", *how)
    task = kokugen.json("show", "tea-1")
    assert task["scheduled_time"] == "2099-12-24T17:00:00Z"
    assert task["zone"] == "Europe/Berlin"
    assert task["param"] == {"args": ["Ann"], "kwargs": {"text": "Tea = good"}}
    assert [task[name] for name in ("queue", "priority", "unique", "tags")] == ["mail", "high", "ann", ["xmas"]]


def test_the_engine_sees_the_same_task(kokugen: CommandLine) -> None:
    from kokugen import Scheduler

    made = kokugen.json(
        "schedule", "remind", "--at", "2099-01-01T00:00Z", "--json-param", '{"who": "Ann", "n": [1, 2]}'
    )
    scheduler = Scheduler(kokugen.url)
    info = scheduler.get(made["id"])
    scheduler.close()
    assert info.param == Params(kwargs={"who": "Ann", "n": [1, 2]})
    assert (info.state, info.priority) == (TaskState.INITIALIZED, Priority.NORMAL)
    assert info.scheduled_time == datetime(2099, 1, 1, tzinfo=UTC)


def test_an_array_is_positional_arguments(kokugen: CommandLine) -> None:
    made = kokugen.json("schedule", "remind", "--in", "5m", "--json-param", '["Ann", 3]')
    assert kokugen.json("show", made["id"])["param"]["args"] == ["Ann", 3]


def test_the_same_id_again_makes_no_second_task(kokugen: CommandLine) -> None:
    for _ in range(2):
        kokugen.done("schedule", "remind", "--in", "5m", "--id", "once")
    assert len(kokugen.json("list")) == 1


def test_the_line_for_people_names_the_id_and_the_time(kokugen: CommandLine) -> None:
    line = kokugen.done("schedule", "remind", "--in", "3h", "--id", "tea")
    assert line.startswith("tea  remind  ")
    assert "in 3 h" in line


def test_the_url_may_be_an_option(kokugen: CommandLine) -> None:
    other = f"sqlite:///{kokugen.path.with_name('other.db')}"
    kokugen.done("schedule", "remind", "--in", "5m", "--url", other)
    assert not kokugen.path.exists()
    assert len(kokugen.json("list", "--url", other)) == 1
