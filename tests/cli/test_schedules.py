"""The commands about schedules: made, listed, paused, triggered, backfilled, accounted for, and looked ahead at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

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


def test_a_schedule_is_changed_in_part_as_was_previewed(kokugen: CommandLine) -> None:
    kokugen.done(
        "every", "0 6 * * *", "report", "--overlap", "skip", "--window", "2d", "--arg", "x", "--tz", "Asia/Tokyo"
    )
    change = ("--when", "0 7 * * *", "--max-runs", "3")
    span = ("--from", "2030-01-01T00:00Z", "--to", "2030-01-02T00:00Z")
    assert kokugen.done("preview", *span, "--diff", "report", *change[:2]).splitlines() == [
        "- 2030-01-01 21:00:00.000Z  report",
        "+ 2030-01-01 22:00:00.000Z  report",
    ]
    made = kokugen.json("schedules")[0]
    edited = kokugen.json("edit", "report", *change, "--by", "ann", "--why", "later")
    assert edited["trigger"] == {"type": "cron", "expression": "0 7 * * *", "tz": "Asia/Tokyo"}
    assert (edited["overlap"], edited["param"], edited["edition"]) == ("skip", {"args": ["x"]}, 2)
    assert edited["policy"] == {**made["policy"], "max_runs": 3}
    assert kokugen.json("audit", "report")[0]["why"] == "later"


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        (("H 7 * * *",), {"expression": "H 7 * * *", "key": "report", "tz": "Europe/Berlin", "fold": "both"}),
        (("0 7 * * *", "--tz", "UTC"), {"expression": "0 7 * * *", "fold": "both"}),
        (("TZ=Asia/Tokyo 0 7 * * *", "--fold", "first"), {"expression": "TZ=Asia/Tokyo 0 7 * * *"}),
        (('{"type":"cron","expression":"@daily"}',), {"expression": "@daily"}),
    ],
)
def test_an_expression_in_place_of_another_keeps_what_is_not_said(
    kokugen: CommandLine, change: tuple[str, ...], trigger: dict[str, str]
) -> None:
    kokugen.done("every", "TZ=Europe/Berlin 30 2 * * *", "report", "--fold", "both")
    assert kokugen.json("edit", "report", "--when", *change)["trigger"] == {"type": "cron", **trigger}


def test_a_change_of_another_edition_is_refused(kokugen: CommandLine) -> None:
    kokugen.done("every", "@daily", "report")
    kokugen.done("edit", "report", "--jitter", "5m", "--edition", "1")
    assert "edition" in kokugen.refused("edit", "report", "--jitter", "6m", "--edition", "1")
    assert kokugen.json("schedules")[0]["policy"]["jitter_us"] == 300_000_000
    assert "say what is to change" in kokugen.refused("edit", "report")
    assert "give --when too" in kokugen.refused("edit", "report", "--tz", "UTC")
    assert "no schedule 'nothing'" in kokugen.refused("edit", "nothing", "--jitter", "5m")


def test_what_was_said_of_a_schedule_may_be_unset(kokugen: CommandLine) -> None:
    plain = kokugen.json("every", "@daily", "report")
    said = ("--end", "2030-01-03T00:00Z", "--max-runs", "3", "--jitter", "5m", "--catchup", "all", "--overlap", "skip")
    kokugen.done("edit", "report", *said)
    unset = [word for name in ("end", "max-runs", "jitter", "catchup", "overlap") for word in ("--unset", name)]
    days = ("--from", "2030-01-02T12:00Z", "--to", "2030-01-04T12:00Z", "--diff", "report")
    assert len(kokugen.done("preview", *days, *unset).splitlines()) == 2
    after = kokugen.json("edit", "report", *unset)
    assert (after["policy"], after["overlap"], after["edition"]) == (plain["policy"], "queue_one", 3)
    assert "say one of them" in kokugen.refused("edit", "report", "--end", "2030-01-03T00:00Z", "--unset", "end")
    assert "max-runs" in kokugen.refused("edit", "report", "--unset", "name")


def test_what_says_no_offset_or_lies_in_the_past_is_refused(kokugen: CommandLine) -> None:
    kokugen.done("every", "@daily", "report")
    for words in (
        ("every", "0 9 * * *", "report", "--tz", "Asia/Tokyo", "--start", "2030-01-01T00:00"),
        ("pause", "report", "--until", "2030-01-01T00:00"),
        ("backfill", "report", "--from", "2026-01-01T00:00", "--to", "2026-01-02T00:00Z"),
    ):
        assert "add an offset such as +01:00, or Z for UTC" in kokugen.refused(*words)
    assert "has passed" in kokugen.refused("pause", "report", "--until", "2020-01-01T00:00Z")
    assert "is before" in kokugen.refused(
        "backfill", "report", "--from", "2026-01-02T00:00Z", "--to", "2026-01-01T00:00Z"
    )
    assert "nothing to undo" in kokugen.refused("rollback", "report")
    assert [one["what"] for one in kokugen.json("audit", "report")] == ["create"]


def test_the_ledger_of_a_removed_schedule_is_told(kokugen: CommandLine) -> None:
    kokugen.done("every", "@daily", "report")
    task_id = kokugen.json("trigger", "report")["id"]
    kokugen.done("remove", "report")
    assert [one["task_id"] for one in kokugen.json("ledger", "report")] == [task_id]
    kokugen.done("rollback", "report")
    assert [one["task_id"] for one in kokugen.json("ledger", "report")] == [task_id]


def test_an_end_before_the_start_that_is_stored_is_refused(kokugen: CommandLine) -> None:
    kokugen.done("every", "@daily", "report", "--start", "2030-01-01T00:00Z")
    assert "before start=2030-01-01" in kokugen.refused("edit", "report", "--end", "2029-12-31T00:00Z")
    assert kokugen.json("schedules")[0]["edition"] == 1


def test_a_schedule_is_removed_and_brought_back(kokugen: CommandLine) -> None:
    made = kokugen.json("every", "@yearly", "report", "--jitter", "5m")
    assert (
        kokugen.done("remove", "report", "--by", "ann", "--why", "no reports any more") == "report  report  removed\n"
    )
    assert kokugen.json("schedules") == []
    back = kokugen.json("rollback", "report", "--why", "a mistake")
    assert (back["trigger"], back["policy"]) == (made["trigger"], made["policy"])
    found = kokugen.json("audit", "report")
    assert [(one["what"], one["who"], one["why"]) for one in found] == [
        ("create", "kokugen", "a mistake"),
        ("remove", "ann", "no reports any more"),
        ("create", "kokugen", None),
    ]
    assert "no schedule 'nothing'" in kokugen.refused("remove", "nothing")
    assert "no schedule 'nothing'" in kokugen.refused("rollback", "nothing")


def test_the_audit_says_who_changed_what_and_why(kokugen: CommandLine) -> None:
    kokugen.done("every", "@daily", "report", "--arg", "old")
    kokugen.done("every", "@daily", "report", "--arg", "new", "--window", "2h", "--by", "ann", "--why", "late reports")
    kokugen.done("pause", "report", "--until", "2100-01-01T00:00Z", "--note", "holidays")
    kokugen.done("resume", "report", "--why", "back again")
    shown = kokugen.done("audit", "report")
    heads = [line.partition("  ")[2] for line in shown.splitlines() if not line.startswith(" ")]
    assert heads == [
        "resume by kokugen: back again",
        "pause by kokugen: holidays",
        "edit by ann: late reports",
        "create by kokugen",
    ]
    assert '      param {"args":["old"]} → {"args":["new"]}\n' in shown
    assert "      window 1 day, 0:00:00 → 2:00:00\n" in shown
    assert "    + paused_until 2100-01-01 00:00:00.000Z\n" in shown
    assert "    - paused_note holidays\n" in shown
    assert kokugen.json("audit", "report", "--limit", "1")[0]["what"] == "resume"
    assert "no schedule 'nothing'" in kokugen.refused("audit", "nothing")


def test_a_reason_stays_with_what_is_done_by_hand(kokugen: CommandLine, scheduler: Scheduler) -> None:
    kokugen.done("every", "0 * * * *", "report")
    kokugen.done("trigger", "report", "--why", "a customer asked")
    kokugen.done("backfill", "report", "--from", "2026-01-01T00:00Z", "--to", "2026-01-01T05:00Z", "--why", "was off")
    assert [one.why for one in scheduler.schedule_audit("report")] == ["was off", "a customer asked", None]


def test_an_h_spreads_by_the_name_of_the_schedule(kokugen: CommandLine) -> None:
    first, second = (kokugen.json("every", "H H * * *", "report", "--name", name) for name in ("one", "two"))
    assert (first["trigger"]["key"], second["trigger"]["key"]) == ("one", "two")
    assert first["next_time"] != second["next_time"]
    assert "key" not in kokugen.json("every", "0 9 * * THU", "report")["trigger"]


def test_what_becomes_of_clock_changes_is_said_with_the_expression(kokugen: CommandLine) -> None:
    words = ("every", "30 2 * * *", "night", "--tz", "Europe/Berlin", "--gap", "skip", "--fold", "both")
    assert kokugen.json(*words)["trigger"] == {
        "type": "cron",
        "expression": "30 2 * * *",
        "tz": "Europe/Berlin",
        "gap": "skip",
        "fold": "both",
    }
    spring = ("--from", "2030-03-31T00:00Z", "--to", "2030-04-01T00:00Z")
    assert kokugen.done("preview", *spring) == "nothing\n"
    changed = kokugen.done("preview", *spring, "--diff", "night", "--when", "30 2 * * *", "--gap", "after")
    assert changed == "+ 2030-03-31 01:00:00.000Z  night  (clocks change on this day)\n"


def test_any_trigger_may_be_given_as_json(kokugen: CommandLine) -> None:
    rule = '{"type":"rrule","rule":"FREQ=MONTHLY;BYDAY=-1FR","start":"2030-01-01T09:00:00","tz":"Europe/Berlin"}'
    assert kokugen.json("every", rule, "report")["next_time"] == "2030-01-25T08:00:00Z"
    assert "Invalid value 'sundial' - at `$.type`" in kokugen.refused("every", '{"type":"sundial"}', "report")
    assert "says it itself" in kokugen.refused(
        "every", '{"type":"cron","expression":"@daily"}', "report", "--tz", "UTC"
    )


def test_how_much_is_caught_up_with_is_an_option(kokugen: CommandLine, scheduler: Scheduler) -> None:
    words = "--catchup all --catchup-max 5 --rate 0.5 --misfire 5m"
    kokugen.done("every", "1m", "report", *words.split())
    policy = scheduler.schedule_of("report").policy
    assert (policy.catchup_max, policy.rate, policy.misfire_us) == (5, 0.5, 300_000_000)
    assert "catchup_max=0" in kokugen.refused("every", "1m", "report", "--catchup-max", "0")


APPLICATION = """
from datetime import date
from kokugen import AsyncScheduler, Retry, Scheduler
from kokugen.recurrence import Days

scheduler = {kind}("sqlite:///{path}", namespace="shop")
scheduler.add_calendar("holidays", Days((date(2030, 12, 25),)))

@scheduler.work(retry=Retry(3), queue="mail")
def report(number: int) -> int:
    return number
"""
OFF_ON_HOLIDAYS = (
    '{"type":"outside","trigger":{"type":"cron","expression":"@daily"},"calendar":{"type":"named","name":"holidays"}}'
)


@pytest.fixture(params=["Scheduler", "AsyncScheduler"])
def application(
    request: pytest.FixtureRequest, kokugen: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The name of an application that knows a calendar."""
    module = f"shop_{request.param.lower()}"
    code = APPLICATION.format(kind=request.param, path=kokugen.path)
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield f"{module}:scheduler"
    sys.modules.pop(module, None)


def test_schedules_that_name_a_calendar_are_looked_after_with_their_application(
    kokugen: CommandLine, application: str
) -> None:
    app = ("--app", application)
    assert "there is no store" in kokugen.refused("schedules", *app)
    kokugen.done("every", OFF_ON_HOLIDAYS, "report", "--json-param", "[7]", *app)
    refused = kokugen.refused("pause", "report", "--namespace", "shop")
    assert "no calendar 'holidays' here" in refused
    assert "--app MODULE:SCHEDULER" in refused
    assert [one["name"] for one in kokugen.json("schedules", *app)] == ["report"]
    assert kokugen.json("pause", "report", *app)["paused"]
    assert not kokugen.json("resume", "report", *app)["paused"]
    span = ("--from", "2030-12-24T00:00Z", "--to", "2030-12-27T00:00Z")
    assert [one["time"][8:10] for one in kokugen.json("preview", *span, *app)] == ["24", "26"]
    assert "comes next at" in kokugen.done("why", "report", *app)
    assert kokugen.done("ledger", "report", *app) == "no time\n"
    assert "--app says which store: leave --url out" in kokugen.refused("schedules", *app, "--url", kokugen.url)


def test_an_application_says_how_the_tasks_of_a_schedule_run(kokugen: CommandLine, application: str) -> None:
    app = ("--app", application)
    kokugen.done("every", "@yearly", "report", "--json-param", "[7]", "--retry-initial", "5s", *app)
    task = kokugen.json("show", kokugen.json("trigger", "report", *app)["id"], "--namespace", "shop")
    assert (task["queue"], task["max_attempts"]) == ("mail", 3)
    assert "int" in kokugen.refused("every", "@yearly", "report", "--arg", "seven", *app)
    assert "declares no work 'nothing'" in kokugen.refused("every", "@yearly", "nothing", *app)


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
        ("every", "5m", "report", "--unique", "x"): "No such option '--unique'",
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
