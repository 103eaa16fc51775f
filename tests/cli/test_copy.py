"""`kokugen copy`: everything arrives, as it was, in a store of any kind; or nothing does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kokugen import Retry, Scheduler, TaskParam, TaskState, Then
from kokugen.clock import SystemClock, duration_us
from kokugen.process import this_node
from kokugen.repository.locate import open_archive
from kokugen.repository.rows import ClaimRequest, Revision
from kokugen.repository.transfer import copy
from kokugen.task import replace
from tests.servers.stores import query, store_url

from .conftest import CommandLine

KINDS = ("sqlite", "sqlite+sqlite3", "postgresql")
PAIRS = [(one, other) for one in KINDS for other in KINDS]
NOW = timedelta(0)
LATER = datetime(2099, 12, 24, 18, tzinfo=ZoneInfo("Europe/Berlin"))
MOMENT = datetime(2001, 1, 1, tzinfo=UTC)

Store = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Returns the URL of a store of a kind that is not there yet."""
    made: list[tuple[str, str]] = []

    def store(kind: str, name: str) -> str:
        if kind != "postgresql":
            return f"{kind}:///{tmp_path / name}.db"
        server = request.getfixturevalue("postgres")
        url = store_url(server, (request.node.nodeid, name))
        made.append((server, url.rpartition("schema=")[2]))
        return url

    yield store
    for server, schema in made:
        query(server, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def fill(url: str, namespace: str = "default") -> None:
    """Tasks in every state, with all that a task can have; large and small values; history, and a node that stopped."""
    scheduler = Scheduler(url, namespace=namespace)

    @scheduler.work(id="run", retry=Retry(2, NOW))
    def run(number: int, text: str = "") -> str:
        if number == 1:
            raise ValueError("no “1”")
        return text

    with scheduler:
        runs = [scheduler.after(NOW, run, number, "ü\\u0000\n" * size) for number, size in ((1, 1), (2, 2), (3, 900))]
        for one in runs:
            one.wait(timedelta(seconds=60))
    how = {"tags": ("a", "b"), "unique": "ü key", "priority": 3, "queue": "mail", "max_lost": 7}
    limits = {"timeout": NOW + timedelta(hours=1), "start_within": timedelta(days=1), "retry": Retry(9)}
    for _ in range(3):
        scheduler.schedule(TaskParam(work_id="sum", scheduled_time=LATER, param={"text": "x" * 2000}, tags=("t",)))
    scheduler.schedule(TaskParam(work_id="sum", scheduled_time=LATER, id="full", **how, **limits))  # type: ignore[arg-type]
    scheduler.schedule(TaskParam(work_id="sum", scheduled_time=LATER, id="once", mode="at_most_once"))
    scheduler.repository.revise("once", Revision(hold="paused")).result()
    scheduler.cancel(scheduler.schedule(TaskParam(work_id="sum", scheduled_time=LATER)).id, reason="no “more”")
    scheduler.revive(runs[0].id, when=LATER)
    for _ in range(2):  # each with one that follows it; one of them may run at a time
        scheduler.at(LATER, run.options(limit_key="ann", then=Then(run, (5,), result="text")), 4)
    fill_schedules(scheduler)
    scheduler.close()


def fill_schedules(scheduler: Scheduler) -> None:
    """Two schedules, one of them paused, with some of their ledger, an end and an audit."""

    @scheduler.work
    def tick() -> None: ...

    scheduler.every("@yearly", tick.options(name="zu “spät”", overlap="allow"))
    scheduler.every(timedelta(seconds=4), tick.options(name="soon", max_runs=9))
    scheduler.pause("soon", until=LATER, note="“why”", by="ann")


def everything(url: str) -> dict[str, list[Any]]:
    """All rows of a store, in an order that all stores share."""
    archive = open_archive(url, write=False, namespace=None)
    shapes = archive.shapes()
    rows = {table: sorted(archive.find(table, shape, list(decoded(archive, table, shape))), key=repr)
            for table, shape in shapes.items()}  # fmt: skip
    archive.close()
    return rows


def decoded(archive: Any, table: str, shape: Any) -> Iterator[Any]:
    import json

    return map(json.loads, archive.rows(table, shape))


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_a_copy_has_every_row_as_it_was(kokugen: CommandLine, store: Store, pair: tuple[str, str]) -> None:
    source, target = store(pair[0], "from"), store(pair[1], "to")
    fill(source)
    told = kokugen.json("copy", source, target)
    before = everything(source)
    assert everything(target) == before
    assert told["rows"] == {table: len(rows) for table, rows in before.items()}
    assert told["rows"]["task"] == 13
    assert told["rows"]["attempt"] == 2
    assert told["before"] == dict.fromkeys(before, 0)


@pytest.mark.parametrize("pair", [("sqlite", "postgresql"), ("postgresql", "sqlite")], ids=" to ".join)
def test_to_copy_again_changes_nothing(kokugen: CommandLine, store: Store, pair: tuple[str, str]) -> None:
    source, target = store(pair[0], "from"), store(pair[1], "to")
    fill(source)
    kokugen.done("copy", source, target)
    before = everything(target)
    told = kokugen.json("copy", source, target)
    assert told["before"] == told["rows"]
    assert everything(target) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_copied_runs(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store("sqlite", "from"), store(kind, "to")
    kokugen.done("schedule", "greet", "--in", "0s", "--id", "a", "--arg", "Ann", "--url", source)
    kokugen.done("copy", source, target)
    scheduler = Scheduler(target)

    @scheduler.work
    def greet(who: str) -> str:
        return f"Hello, {who}"

    with scheduler:
        assert scheduler.handle("a").result(timedelta(seconds=60)) == "Hello, Ann"


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_for_others_does_so_where_it_was_copied_to(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store("sqlite", "from"), store(kind, "to")
    running: list[str] = []
    schedulers = [Scheduler(url) for url in (source, target)]

    def greet(who: str) -> str:
        running.append(who)
        assert len(running) == 1, "one at a time"
        return running.pop()

    work, _ = [one.work(id="greet")(greet) for one in schedulers]
    leave, _ = [one.work(id="leave")(lambda who: f"{who} left") for one in schedulers]
    entering = work.options(limit_key="door", then=Then(leave, result="who"))
    first = [schedulers[0].after(NOW, entering, str(number)) for number in range(3)]
    schedulers[0].close()
    kokugen.done("copy", source, target)
    with schedulers[1] as there:
        assert [there.handle(one.id).result(timedelta(seconds=60)) for one in first] == ["0", "1", "2"]
        left = [there.wait(info.id, timedelta(seconds=60)).result for info in there.tasks(work="leave")]
    assert sorted(map(str, left)) == ['"0 left"', '"1 left"', '"2 left"']


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_differs_keeps_everything_out(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store("sqlite", "from"), store(kind, "to")
    fill(source)
    kokugen.done("schedule", "other", "--in", "5m", "--id", "full", "--url", target)
    before = everything(target)
    assert "the task default full is another there" in kokugen.refused("copy", source, target)
    assert everything(target) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_unique_key_that_is_taken_keeps_everything_out(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store("sqlite", "from"), store(kind, "to")
    fill(source)
    kokugen.done("schedule", "other", "--in", "5m", "--unique", "ü key", "--url", target)
    before = everything(target)
    assert "its unique key" in kokugen.refused("copy", source, target)
    assert everything(target) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_target_has_besides_stays(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store("sqlite", "from"), store(kind, "to")
    fill(source)
    kokugen.done("schedule", "other", "--in", "5m", "--id", "mine", "--url", target)
    kokugen.done("copy", source, target)
    assert kokugen.json("show", "mine", "--url", target)["work_id"] == "other"
    assert len(everything(target)["task"]) == 14


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_namespace_can_be_copied_alone(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store(kind, "from"), store("sqlite", "to")
    fill(source)
    fill(source, "shop")
    kokugen.done("copy", source, target, "--namespace", "shop")
    assert kokugen.json("list", "--url", target) == []
    assert len(kokugen.json("list", "--url", target, "--namespace", "shop")) == 13


# -- A store that is at work


def join(url: str, *, silent: timedelta, pid_started: int | None = None) -> None:
    """A node that is this process, or had its pid before it, and was not seen for so long."""
    scheduler, now_us = Scheduler(url), SystemClock().wall_us()
    node = this_node("node-2", label="shop-2", version="0", now_us=now_us)
    began = node.pid_started if pid_started is None else pid_started
    scheduler.repository.register(replace(node, seen_at=now_us - duration_us(silent), pid_started=began)).result()
    scheduler.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_beats_seldom_is_not_overlooked(kokugen: CommandLine, store: Store, kind: str) -> None:
    source = store(kind, "from")
    join(source, silent=timedelta(hours=2))
    assert "workers run on" in kokugen.refused("copy", source, store("sqlite", "to"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_whose_process_is_surely_gone_is_not_waited_for(kokugen: CommandLine, store: Store, kind: str) -> None:
    source = store(kind, "from")
    join(source, silent=timedelta(0), pid_started=1)
    kokugen.done("copy", source, store("sqlite", "to"))


def claim(url: str, *, alive: bool = True) -> None:
    """Tasks that are being run by a node, which is alive as far as the store knows, or unknown."""
    scheduler = Scheduler(url)
    for mode in ("at_least_once", "at_most_once"):
        scheduler.schedule(TaskParam(work_id="run", scheduled_time=MOMENT, id=mode, mode=mode))
    node = this_node("node-1", label="shop-1", version="0", now_us=SystemClock().wall_us())
    if alive:
        scheduler.repository.register(node).result()
    scheduler.repository.claim(ClaimRequest(node_id="node-1", nonce="n", slots=2, ttl_s=0.5)).result()
    scheduler.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_on_which_workers_run_is_refused(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store(kind, "from"), store("sqlite", "to")
    claim(source)
    assert "workers run on" in kokugen.refused("copy", source, target)
    assert "there is no store" in kokugen.refused("list", "--url", target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_whose_runs_were_cut_off_is_refused(kokugen: CommandLine, store: Store, kind: str) -> None:
    source, target = store(kind, "from"), store("sqlite", "to")
    claim(source, alive=False)
    assert "were cut off (2)" in kokugen.refused("copy", source, target)


@pytest.mark.parametrize("pair", [("sqlite", "postgresql"), ("postgresql", "sqlite")], ids=" to ".join)
def test_a_run_that_is_copied_live_is_a_lost_one(kokugen: CommandLine, store: Store, pair: tuple[str, str]) -> None:
    source, target = store(pair[0], "from"), store(pair[1], "to")
    claim(source)
    kokugen.done("copy", source, target, "--live")
    scheduler = Scheduler(target, shared=False)
    scheduler.work(id="run")(lambda: "done")
    with scheduler:
        assert scheduler.handle("at_least_once").result(timedelta(seconds=60)) == "done"
        once = scheduler.get("at_most_once")
    assert (once.state, once.reason) == (TaskState.FAILED, "lost")


def test_a_copy_is_of_one_moment_while_others_write(kokugen: CommandLine, store: Store) -> None:
    source = store("sqlite", "from")
    fill(source)
    archive = open_archive(source, write=False, namespace=None)
    kokugen.done("schedule", "other", "--in", "5m", "--url", source)
    assert archive.count("task", archive.shapes()["task"]) == 13
    archive.close()


# -- What is refused


def test_a_store_is_not_copied_into_itself(kokugen: CommandLine, store: Store, tmp_path: Path) -> None:
    source = store("sqlite", "from")
    kokugen.done("migrate", "--url", source)
    for target in (source, f"sqlite+sqlite3:///{tmp_path}/./from.db"):
        assert "one store" in kokugen.refused("copy", source, target)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("sqlite:///no-such.db", "sqlite:///to.db"), "no store"),
        (("mysql://host/db", "sqlite:///to.db"), "not a store"),
        (("sqlite:///no-such.db",), "TO"),
        (("memory://", "sqlite:///to.db"), "memory"),
        (("sqlite:///a.db", "sqlite:///b.db", "--namespace", "a/b"), "namespace"),
    ],
)
def test_what_cannot_be_copied_is_refused(kokugen: CommandLine, words: tuple[str, ...], reason: str) -> None:
    assert reason in kokugen.refused("copy", *words)


def test_a_damaged_source_leaves_the_target_empty(kokugen: CommandLine, store: Store, tmp_path: Path) -> None:
    source, target = store("sqlite+sqlite3", "from"), store("sqlite", "to")
    fill(source)
    path = tmp_path / "from.db"
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = b"\xff" * (len(data) - 4096 * 3)
    path.write_bytes(data)
    assert "damaged" in kokugen.refused("copy", source, target)
    assert not (tmp_path / "to.db").exists() or everything(target)["task"] == []


def test_it_says_how_many_of_what_there_are(kokugen: CommandLine, store: Store) -> None:
    source = store("sqlite", "from")
    fill(source)
    said = kokugen.done("copy", source, store("sqlite", "to"))
    told = {words[1]: int(words[0]) for line in said.splitlines() if (words := line.split())[0].isdigit()}
    assert {name: count for name, count in told.items() if count} == {
        "attempt": 2,
        "audit": 1,
        "ledger": 1,
        "node": 1,
        "occurrence_end": 1,
        "schedule": 2,
        "schedule_audit": 3,
        "task": 13,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_is_cut_off_leaves_nothing_and_can_be_repeated(
    kokugen: CommandLine, store: Store, kind: str
) -> None:
    source, target = store("sqlite", "from"), store(kind, "to")
    fill(source)
    kokugen.done("migrate", "--url", target)
    taken, given = (open_archive(url, write=url == target, namespace=None) for url in (source, target))

    def cut_off(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(taken, given, cut_off)
    taken.close()
    given.close()
    assert [rows for rows in everything(target).values() if rows] == []
    kokugen.done("copy", source, target)
    assert everything(target) == everything(source)
