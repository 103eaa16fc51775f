"""`kokugen list` and `kokugen show`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kokugen import Scheduler

from .conftest import Add, CommandLine


def ids(kokugen: CommandLine, *words: str) -> list[str]:
    return [task["id"] for task in kokugen.json("list", *words)]


def test_tasks_are_listed_earliest_due_first(kokugen: CommandLine, add: Add) -> None:
    late = add(scheduled_time=datetime(2099, 1, 2, tzinfo=UTC))
    early = add(scheduled_time=datetime(2099, 1, 1, tzinfo=UTC))
    assert ids(kokugen) == [early, late]


def test_each_filter_narrows_the_list(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    plain = add()
    queued, tagged = add(queue="mail"), add(tags=("xmas",))
    other, gone = add(work_id="bill"), add()
    far = add(scheduled_time=datetime(2099, 1, 1, tzinfo=UTC))
    scheduler.cancel(gone)
    assert ids(kokugen, "--queue", "mail") == [queued]
    assert ids(kokugen, "--tag", "xmas") == [tagged]
    assert ids(kokugen, "--work", "bill") == [other]
    assert ids(kokugen, "--state", "cancelled") == [gone]
    assert far not in ids(kokugen, "--due-before", "2h")
    assert set(ids(kokugen, "--state", "Initialized,CANCELLED")) == {plain, queued, tagged, other, gone, far}
    assert ids(kokugen, "--held") == []
    assert len(ids(kokugen, "--not-held", "--due-before", "2098-12-31T00:00", "--tz", "Asia/Tokyo")) == 5


def test_the_limit_holds_and_the_table_says_that_there_are_more(kokugen: CommandLine, add: Add) -> None:
    for _ in range(3):
        add()
    assert len(ids(kokugen, "--limit", "2")) == 2
    assert "2 of 3 tasks" in kokugen.done("list", "--limit", "2")
    assert "of 3" not in kokugen.done("list", "--limit", "3")


def test_the_table_tells_state_time_work_and_reason(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    scheduler.cancel(add(id="t1"), reason="no more tea")
    head, line = kokugen.done("list").splitlines()
    assert head.split() == ["ID", "STATE", "DUE", "WORK", "QUEUE", "TRIES", "NOTE"]
    assert line.split()[:2] == ["t1", "Cancelled"]
    assert line.endswith("no more tea")


def test_an_empty_store_says_so(kokugen: CommandLine, scheduler: Scheduler) -> None:
    assert kokugen.done("list") == "no task\n"
    assert kokugen.json("list") == []


def test_show_tells_everything_and_draws_the_life(kokugen: CommandLine, add: Add) -> None:
    task_id = add(param={"who": "Ann", "text": "Tea!"}, unique="ann")
    shown = kokugen.done("show", task_id)
    parts = (task_id, "Initialized", '(who="Ann", text="Tea!")', "unique      ann", "●  created", "●  now", "●  due")
    assert [part for part in parts if part not in shown] == []


def test_show_tells_result_and_attempts_of_what_ran(kokugen: CommandLine) -> None:
    from datetime import timedelta

    with Scheduler(kokugen.url) as scheduler:

        @scheduler.work
        def add_up(*numbers: int) -> int:
            return sum(numbers)

        @scheduler.work
        def fail() -> None:
            raise ValueError("bad \x1b[31mnews")

        good, bad = scheduler.after(timedelta(0), add_up, 1, 2), scheduler.after(timedelta(0), fail)
        for task in (good, bad):
            task.wait(timedelta(seconds=30))
    assert kokugen.json("show", good.id)["result"] == 3
    assert "●  Done" in kokugen.done("show", good.id)
    failed = kokugen.json("show", bad.id)
    assert failed["state"] == "Failed"
    assert "ValueError" in failed["error"]
    assert "bad \\x1b[31mnews" in kokugen.done("show", bad.id)


def test_stored_text_cannot_steer_the_terminal(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    task_id = add(param={"text": "\x1b]0;owned\x07"})
    scheduler.cancel(task_id, reason="red \x1b[31m\nalert")
    for words in (("list",), ("show", task_id), ("list", "--json"), ("show", task_id, "--json")):
        assert "\x1b" not in kokugen.done(*words)
        assert "\x07" not in kokugen.done(*words)


HOSTILE = [2**63 - 1, -(2**63), 253_402_300_800_000_000]


@pytest.mark.parametrize("us", HOSTILE)
def test_a_history_with_times_of_no_year_is_shown_without_them(
    kokugen: CommandLine, add: Add, scheduler: Scheduler, us: int
) -> None:
    import apsw

    task_id = add()
    db = apsw.Connection(str(kokugen.path))
    sql = "INSERT INTO attempt VALUES ('default', ?, 1, 1, 'failed', 'n', ?, ?, ?, 'an error')"
    db.execute(sql, (task_id, us, us, us))
    db.close()
    assert "●  due" in kokugen.done("show", task_id)
    (attempt,) = kokugen.json("show", task_id)["attempts"]
    assert (attempt["outcome"], attempt["finished_at"]) == ("failed", None)


@pytest.mark.parametrize("us", HOSTILE)
def test_a_node_with_times_of_no_year_is_listed_without_them(
    kokugen: CommandLine, scheduler: Scheduler, us: int
) -> None:
    import apsw

    db = apsw.Connection(str(kokugen.path))
    sql = "INSERT INTO node VALUES ('n', 'far', 'h', '', 1, '', 0, '1', ?, ?, NULL, '', '')"
    db.execute(sql, (us, us))
    db.close()
    assert "unreadable" in kokugen.done("nodes")
    assert kokugen.json("nodes")[0]["seen_at"] is None
    assert kokugen("doctor").exit_code in {0, 1}


def test_no_stored_text_forges_a_line_of_show(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    task_id = add()
    scheduler.cancel(task_id, reason="no tea\nstate       Done\x1b[2J")
    lines = kokugen.done("show", task_id).splitlines()
    assert [line for line in lines if line.startswith("state")] == [
        "state       Cancelled · no tea\\nstate       Done\\x1b[2J"
    ]
    assert sum("no tea\\nstate" in line for line in lines) == 2
