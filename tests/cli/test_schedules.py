"""The commands about schedules: made, listed, paused, triggered, backfilled, accounted for, and looked ahead at."""

from __future__ import annotations

import pytest

from kokugen import Scheduler

from .conftest import CommandLine


def test_a_schedule_is_made_and_listed(kokugen: CommandLine) -> None:
    made = kokugen.json("every", "0 9 * * mon-fri", "report", "--tz", "Asia/Tokyo", "--name", "morning", "--arg", "x")
    assert made["trigger"] == {"type": "cron", "expression": "0 9 * * mon-fri", "tz": "Asia/Tokyo"}
    assert (made["name"], made["work_id"], made["param"]) == ("morning", "report", {"args": ["x"]})
    assert kokugen.json("schedules") == [made]
    shown = kokugen.done("schedules")
    assert "morning" in shown
    assert "Cron('0 9 * * mon-fri', tz='Asia/Tokyo')" in shown


def test_the_options_of_a_schedule_and_of_its_tasks_are_kept(kokugen: CommandLine, scheduler: Scheduler) -> None:
    words = "--overlap skip --catchup all --window 2d --jitter 30s --max-runs 7 --queue mail --priority high --by ann"
    kokugen.done("every", "5m", "report", "--end", "2100-01-01T00:00Z", *words.split())
    info = scheduler.schedule_of("report")
    policy = info.policy
    assert (info.overlap, policy.catchup, policy.max_runs) == ("skip", "all", 7)
    assert (policy.window_us, policy.jitter_us) == (2 * 86_400_000_000, 30_000_000)
    assert policy.end_us == 4_102_444_800_000_000
    assert [(one.what, one.who) for one in scheduler.schedule_audit("report")] == [("create", "ann")]
    (task,) = [scheduler.get(scheduler.trigger("report"))]
    assert (task.queue, task.priority.name) == ("mail", "HIGH")


def test_a_delay_and_a_limit_of_failures_are_put_from_the_command_line(
    kokugen: CommandLine, scheduler: Scheduler
) -> None:
    made = kokugen.json("every", "5m", "report", "--after-end", "--failures-max", "3")
    assert made["trigger"] == {"type": "after", "delay": "PT300S"}
    assert scheduler.schedule_of("report").policy.failures_max == 3
    scheduler.trigger("report")
    assert "after its run" in kokugen.done("schedules")
    assert "a span of time" in kokugen.refused("every", "@daily", "report", "--after-end")


def test_a_schedule_is_edited_where_there_is_one(kokugen: CommandLine) -> None:
    first = kokugen.json("every", "@daily", "report")
    assert kokugen.json("every", "@daily", "report")["edition"] == first["edition"]
    assert kokugen.json("every", "@hourly", "report")["edition"] == first["edition"] + 1
    assert len(kokugen.json("schedules")) == 1


def test_a_schedule_is_paused_with_a_reason_and_resumed(kokugen: CommandLine) -> None:
    kokugen.done("every", "@yearly", "report")
    assert kokugen.json("pause", "report", "--note", "audit", "--for", "2h")["paused"] is True
    assert "paused by kokugen until" in kokugen.done("schedules", "--paused")
    assert "(audit)" in kokugen.done("why", "report")
    assert kokugen.json("resume", "report")["paused"] is False
    assert kokugen.done("schedules", "--paused") == "no schedule\n"


def test_what_was_triggered_is_in_the_ledger(kokugen: CommandLine) -> None:
    kokugen.done("every", "@yearly", "report")
    assert kokugen.done("ledger", "report") == "no time\n"
    task_id = kokugen.json("trigger", "report")["id"]
    (one,) = kokugen.json("ledger", "report")
    assert (one["task_id"], one["outcome"], one["by_hand"]) == (task_id, "waiting", True)
    assert "by hand" in kokugen.done("ledger", "report")
    assert kokugen.json("show", task_id)["schedule"] == "report"
    assert "schedule    report, its time" in kokugen.done("show", task_id)
    assert f"Task {task_id} (report) is due since" in kokugen.done("why", task_id)
    assert "It is the run of schedule 'report'" in kokugen.done("why", task_id)


def test_what_did_not_run_may_be_backfilled(kokugen: CommandLine) -> None:
    kokugen.done("every", "0 * * * *", "report")
    span = ("--from", "2026-01-01T00:00Z", "--to", "2026-01-01T05:00Z")
    assert kokugen.done("backfill", "report", *span) == "6 tasks\n"
    assert kokugen.json("backfill", "report", *span) == []
    found = kokugen.json("ledger", "report", *span)
    assert [one["time"][11:16] for one in found] == [f"0{hour}:00" for hour in range(6)]


def test_a_preview_marks_the_days_on_which_clocks_change(kokugen: CommandLine) -> None:
    kokugen.done("every", "30 2 * * *", "night", "--tz", "Europe/Berlin")
    kokugen.done("every", "12h", "half", "--start", "2030-03-30T00:00Z")
    shown = kokugen.done("preview", "--from", "2030-03-30T00:00Z", "--to", "2030-04-01T00:00Z").splitlines()
    assert shown == [
        "2030-03-30 00:00:00.000Z  half",
        "2030-03-30 01:30:00.000Z  night",
        "2030-03-30 12:00:00.000Z  half",
        "2030-03-31 00:00:00.000Z  half",
        "2030-03-31 01:00:00.000Z  night  (clocks change on this day)",
        "2030-03-31 12:00:00.000Z  half",
    ]
    assert kokugen.done("preview", "--from", "2000-01-01T00:00Z", "--to", "2000-01-02T00:00Z") == "nothing\n"
    assert "must be later" in kokugen.refused("preview", "--to", "2000-01-01T00:00Z")


def test_a_preview_that_is_cut_short_says_so(kokugen: CommandLine) -> None:
    kokugen.done("every", "1h", "report")
    span = ("--from", "2030-01-01T00:00Z", "--to", "2030-01-02T00:00Z")
    cut = kokugen("preview", *span, "--limit", "23")
    assert (len(cut.stdout.splitlines()), "there is more than 23" in cut.stderr) == (23, True)
    whole = kokugen("preview", *span, "--limit", "24")
    assert (len(whole.stdout.splitlines()), whole.stderr) == (24, "")


def test_a_preview_shows_what_a_change_would_add_and_remove(kokugen: CommandLine) -> None:
    kokugen.done("every", "0 6,12 * * *", "report")
    words = ("--from", "2030-01-01T00:00Z", "--to", "2030-01-02T00:00Z", "--diff", "report", "--when", "0 12,18 * * *")
    assert kokugen.done("preview", *words).splitlines() == [
        "- 2030-01-01 06:00:00.000Z  report",
        "+ 2030-01-01 18:00:00.000Z  report",
    ]
    assert [one["change"] for one in kokugen.json("preview", *words)] == ["-", "+"]
    assert kokugen.json("schedules")[0]["edition"] == 1


@pytest.mark.parametrize(
    ("words", "why"),
    {
        ("every", "61 * * * *", "report"): "61",
        ("every", "1us", "report"): "'1us' is not a span of time: write it like 90s",
        ("every", "--name", "x", "--", "-5m", "report"): "'-5m' is not a span of time: write it like 90s",
        ("every", "0s", "report"): "'0s' is too short",
        ("every", "5m", "report", "--tz", "Asia/Tokyo"): "has none",
        ("every", "5m", "report", "--unique", "x"): "unique key",
        ("every", "5m", "report", "--window", "long"): "--window",
        ("pause", "nothing"): "no schedule 'nothing'",
        ("resume", "nothing"): "no schedule 'nothing'",
        ("trigger", "nothing"): "no schedule 'nothing'",
        ("why", "nothing"): "no schedule 'nothing'",
        ("ledger", "nothing"): "no schedule 'nothing'",
        ("pause", "nothing", "--until", "2100-01-01T00:00Z", "--for", "2h"): "exclude each other",
        ("preview", "--diff", "report"): "belong together",
    }.items(),
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_cannot_be_is_refused_in_one_line(
    kokugen: CommandLine, scheduler: Scheduler, words: tuple[str, ...], why: str
) -> None:
    assert why in kokugen.refused(*words)
    assert scheduler.schedules() == []


@pytest.mark.parametrize("when", ["61 * * * *", "0 0 30 2 *", "1us", "0s"])
def test_times_that_cannot_be_make_no_store(kokugen: CommandLine, when: str) -> None:
    kokugen.refused("every", when, "report")
    assert not kokugen.path.exists()
