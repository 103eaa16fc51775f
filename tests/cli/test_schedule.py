"""`kokugen schedule`."""

from __future__ import annotations

import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kokugen import Scheduler
from kokugen.options import StoredOptions, stored_options
from kokugen.retry import StoredRetry
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


# -- How it is to run


def options_of(kokugen: CommandLine, task_id: str) -> StoredOptions:
    """What is stored with a task because it was given it itself."""
    import apsw

    db = apsw.Connection(str(kokugen.path))
    ((text,),) = db.execute("SELECT options FROM task WHERE id = ?", (task_id,))
    db.close()
    return stored_options(text)


def test_every_option_of_a_task_can_be_said(kokugen: CommandLine) -> None:
    at = ("--at", "2099-01-01T00:00Z", "--id", "a")
    retry = ("--retry-attempts", "7", "--retry-initial", "2s", "--retry-factor", "3", "--retry-delay-max", "1m")
    limits = ("--timeout", "90s", "--start-within", "1h", "--max-lost", "9", "--no-retry-jitter")
    kokugen.done("schedule", "remind", *at, *retry, *limits)
    task = kokugen.json("show", "a")
    assert (task["max_attempts"], task["max_lost"], task["mode"]) == (7, 9, "at_least_once")
    assert task["start_deadline"] == "2099-01-01T01:00:00Z"
    assert options_of(kokugen, "a") == StoredOptions(StoredRetry(2_000_000, 3.0, 60_000_000, False), 90_000_000)


def test_a_task_can_be_told_to_run_at_most_once(kokugen: CommandLine) -> None:
    kokugen.done("schedule", "remind", "--in", "5m", "--id", "a", "--mode", "at-most-once")
    assert kokugen.json("show", "a")["mode"] == "at_most_once"


def test_a_part_of_a_retry_is_a_retry(kokugen: CommandLine) -> None:
    kokugen.done("schedule", "remind", "--in", "5m", "--id", "a", "--retry-initial", "2h")
    assert kokugen.json("show", "a")["max_attempts"] == 5
    assert options_of(kokugen, "a").retry == StoredRetry(7_200_000_000, 2.0, 7_200_000_000)


# -- As an application declares it

SHOP = """
    from datetime import timedelta
    from kokugen import AsyncScheduler, Retry, Scheduler

    scheduler = Scheduler("sqlite:///shop.db", namespace="shop")
    loop_scheduler = AsyncScheduler("sqlite:///shop.db", namespace="shop")

    @scheduler.work(mode="at_most_once", queue="money", priority=2)
    def bill(order: int, *, note: str = "") -> None: ...

    @scheduler.work(retry=Retry(9, timedelta(seconds=3), retry_on=(ConnectionError,)))
    def fetch() -> None: ...

    @loop_scheduler.work(mode="at_most_once")
    async def knock() -> None: ...
"""


@pytest.fixture
def shop(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an application, with a store of its own; the command line runs in it."""
    folder = kokugen.path.parent
    (folder / "shop_jobs.py").write_text(textwrap.dedent(SHOP), encoding="ascii")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop_jobs", raising=False)
    return folder


def in_shop(task_id: str) -> dict[str, object]:
    scheduler = Scheduler("sqlite:///shop.db", namespace="shop")
    info = scheduler.get(task_id)
    scheduler.close()
    return {name: getattr(info, name) for name in info.__struct_fields__}


def test_an_application_says_what_is_declared_and_which_store(kokugen: CommandLine, shop: Path) -> None:
    app = ("--app", "shop_jobs:scheduler")
    kokugen.done("schedule", "bill", "--in", "5m", "--id", "a", *app, "--json-param", "[7]")
    found = in_shop("a")
    assert [found[name] for name in ("mode", "queue", "priority")] == [1, "money", Priority.HIGH]
    assert not kokugen.path.exists()


def test_what_is_typed_comes_before_what_is_declared(kokugen: CommandLine, shop: Path) -> None:
    app = ("--app", "shop_jobs:scheduler")
    kokugen.done("schedule", "bill", "--in", "5m", "--id", "a", *app, "--json-param", "[7]", "--priority", "low")
    kokugen.done("schedule", "fetch", "--in", "5m", "--id", "b", *app, "--retry-attempts", "2")
    assert [in_shop("a")[name] for name in ("mode", "queue", "priority")] == [1, "money", Priority.LOW]
    assert in_shop("b")["max_attempts"] == 2


def test_an_application_of_an_event_loop_schedules_too(kokugen: CommandLine, shop: Path) -> None:
    kokugen.done("schedule", "knock", "--in", "5m", "--id", "a", "--app", "shop_jobs:loop_scheduler")
    assert in_shop("a")["mode"] == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("bll", "--arg", "7"), "no work 'bll' is declared here"),
        (("bill",), "order"),
        (("bill", "--arg", "seven"), "int"),
        (("bill", "--json-param", '{"order": 7, "price": 3}'), "price"),
        (("bill", "--json-param", "[7]", "--retry-attempts", "2"), "at_most_once"),
    ],
)
def test_what_an_application_cannot_run_is_refused(
    kokugen: CommandLine, shop: Path, words: tuple[str, ...], reason: str
) -> None:
    assert reason in kokugen.refused("schedule", *words, "--in", "5m", "--app", "shop_jobs:scheduler")
    assert not (shop / "shop.db").exists()


# -- Namespaces


def test_a_namespace_sees_its_own_tasks_alone(kokugen: CommandLine) -> None:
    kokugen.done("schedule", "remind", "--in", "5m", "--id", "a", "--namespace", "shop")
    assert [task["id"] for task in kokugen.json("list", "--namespace", "shop")] == ["a"]
    assert kokugen.json("list") == []
    assert "no task 'a'" in kokugen.refused("show", "a")


def test_the_environment_may_name_the_namespace(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOKUGEN_NAMESPACE", "shop")
    kokugen.done("schedule", "remind", "--in", "5m", "--id", "a")
    assert kokugen.json("show", "a")["namespace"] == "shop"


def test_an_id_that_was_there_is_shown_as_it_is_stored(kokugen: CommandLine, scheduler: Scheduler) -> None:
    first = kokugen.json("schedule", "remind", "--at", "2099-01-01T12:00Z", "--id", "tea")
    assert (first["existed"], first["state"]) == (False, "Initialized")
    scheduler.cancel("tea")
    again = ("schedule", "bill", "--in", "5m", "--id", "tea")
    assert kokugen.json(*again) == {**first, "existed": True, "state": "Cancelled"}
    line = kokugen.done(*again)
    assert line.startswith("tea  remind  2099-01-01 12:00:00.000Z  in ")
    assert line.endswith("  Cancelled, there already: nothing was changed\n")
    assert "already" not in kokugen.done("schedule", "bill", "--in", "5m", "--id", "coffee")
