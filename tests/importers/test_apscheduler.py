"""Job stores that APScheduler 3 made: every job as a schedule that comes when APScheduler would run it."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from kokugen.errors import KokugenError, OptionError
from kokugen.importers.apscheduler import COLUMNS, TABLE, read_jobs
from kokugen.importers.found import WINDOW_MAX, Found, Reading
from kokugen.importers.works import check
from kokugen.recurrence import Every, Instants
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.foreign import read_table
from kokugen.task import Params
from tests.servers.stores import query

from .stores import make_store

NOW = datetime(2026, 1, 10, 11, 12, 13, 141516, tzinfo=UTC)
COUNT = 40
JOB: dict[str, Any] = {
    "version": 1,
    "func": "shop.jobs:send",
    "args": (),
    "kwargs": {},
    "coalesce": True,
    "max_instances": 1,
    "misfire_grace_time": 1,
    "executor": "default",
}


def read(url: str, works: dict[str, str] | None = None) -> Reading:
    return read_jobs(read_table(url, TABLE, COLUMNS), works or {}, NOW)


def job(trigger: Any, *, next_run_time: float | None = 1.0, **changes: Any) -> Found:
    state = pickle.dumps({**JOB, "trigger": trigger, **changes})
    reading = read_jobs([("x", next_run_time, state)], {}, NOW)
    assert reading.left_out == ()
    return reading.found[0]


def left_out(trigger: Any, **changes: Any) -> str:
    (left,) = read_jobs([("x", 1.0, pickle.dumps({**JOB, "trigger": trigger, **changes}))], {}, NOW).left_out
    return left.reason


def times(trigger: Trigger | timedelta, count: int) -> list[datetime]:
    assert isinstance(trigger, Trigger)
    came: list[datetime] = []
    at = trigger.next(NOW - timedelta.resolution)
    while at is not None and len(came) < count:
        came.append(at)
        at = trigger.next(at)
    return came


def times_of_peer(trigger: Any, count: int) -> list[datetime]:
    came: list[datetime] = []
    at = trigger.get_next_fire_time(None, NOW)
    while at is not None and len(came) < count:
        came += [at.astimezone(UTC)] if at >= NOW else []  # the first of a calendar interval may have passed
        before = None if isinstance(trigger, AndTrigger) else at  # which never ends where it is told of one
        at = trigger.get_next_fire_time(before, at + timedelta.resolution)
    return came


def cron(**fields: Any) -> CronTrigger:
    return CronTrigger(**{"timezone": "Europe/Berlin", **fields})


START = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
TRIGGERS: dict[str, Callable[[], Any]] = {
    "every minute": lambda: cron(second=0),
    "seconds": lambda: cron(second="*/20"),
    "a step from a value": lambda: cron(minute="7/20", hour="5/6"),
    "ranges and lists": lambda: cron(minute="0,30-34,50-58/4", hour="9-17"),
    "days": lambda: cron(day="1,15,28-31", hour=9),
    "every third day": lambda: cron(day="*/3", hour=9),
    "a day of the week by its number": lambda: cron(day_of_week=0, hour=9),
    "days of the week by number": lambda: cron(day_of_week="0-4", hour=9),
    "every other day of the week": lambda: cron(day_of_week="*/2", hour=9),
    "a step of days of the week": lambda: cron(day_of_week="1-5/2", hour=9),
    "names": lambda: cron(day_of_week="mon-wed,sun", month="jan-mar,Nov", hour=9),
    "both days": lambda: cron(day="1-7", day_of_week="mon", hour=9),
    "both days by steps": lambda: cron(day="*/2", day_of_week="fri", hour=9),
    "the last day": lambda: cron(day="last", hour=9),
    "the third Friday": lambda: cron(day="3rd fri", hour=9),
    "the last Sunday": lambda: cron(day="last sun", hour=9),
    "days of many forms": lambda: cron(day="2nd tue,last,5", hour=9),
    "days of many forms, at weekends": lambda: cron(day="1st sat,last,5-9", day_of_week="sat,sun", hour=9),
    "years": lambda: cron(year="2027", month=6, hour=9, minute="*/7"),
    "a range of years, and one": lambda: cron(year="2026-2027,2029", month=6, day=3),
    "between two instants": lambda: cron(hour=9, start_date=START, end_date=START + timedelta(days=20)),
    "a crontab": lambda: CronTrigger.from_crontab("*/15 8-18 * * mon-fri", timezone="America/New_York"),
    "an interval": lambda: IntervalTrigger(hours=7, start_date=START, timezone="UTC"),
    "an interval of parts": lambda: IntervalTrigger(
        weeks=1, days=1, seconds=3, start_date=START, timezone="Asia/Tokyo"
    ),
    "an interval that ends": lambda: IntervalTrigger(
        days=3, start_date=START, end_date=START + timedelta(days=9), timezone="UTC"
    ),
    "a date": lambda: DateTrigger(START, timezone="Asia/Tokyo"),
    "months": lambda: CalendarIntervalTrigger(
        months=1, hour=9, start_date=dt.date(2026, 1, 31), timezone="Europe/Berlin"
    ),
    "leap years": lambda: CalendarIntervalTrigger(years=1, hour=9, start_date=dt.date(2024, 2, 29), timezone="UTC"),
    "weeks": lambda: CalendarIntervalTrigger(
        weeks=2, days=1, hour=9, minute=5, second=7, start_date=dt.date(2026, 2, 2), timezone="America/New_York"
    ),
    "days, one of them without the time": lambda: CalendarIntervalTrigger(
        days=1, hour=2, minute=30, start_date=dt.date(2026, 3, 20), timezone="Europe/Berlin"
    ),
    "days, one of them with the time twice": lambda: CalendarIntervalTrigger(
        days=1, hour=2, minute=30, start_date=dt.date(2026, 10, 10), timezone="Europe/Berlin"
    ),
    "midnights that end": lambda: CalendarIntervalTrigger(
        days=1, start_date=dt.date(2026, 2, 2), end_date=dt.date(2026, 2, 8), timezone="Europe/Berlin"
    ),
    "a calendar interval that ends": lambda: CalendarIntervalTrigger(
        days=2, hour=9, start_date=dt.date(2026, 2, 2), end_date=dt.date(2026, 2, 8), timezone="Europe/Berlin"
    ),
    "either": lambda: OrTrigger([cron(hour=9), cron(day_of_week="sat", hour=11, minute=30)]),
    "both": lambda: AndTrigger([cron(day="*/2", hour=9), cron(day_of_week="mon-fri", hour="9,10")]),
    "both of either": lambda: AndTrigger(
        [OrTrigger([cron(day=13, hour=9), cron(day=1, hour=9)]), cron(day_of_week=4, hour=9)]
    ),
}


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("name", TRIGGERS)
def test_a_job_comes_when_apscheduler_would_run_it(name: str, protocol: int) -> None:
    trigger = TRIGGERS[name]()
    reading = read_jobs([("x", 1.0, pickle.dumps({**JOB, "trigger": trigger}, protocol))], {}, NOW)
    assert reading.left_out == ()
    expected = times_of_peer(trigger, COUNT)
    assert expected, "there is something to compare"
    assert times(reading.found[0].when, COUNT) == expected


def test_a_store_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    url = make_store(
        tmp_path / "jobs.db",
        lambda jobs: jobs.add_job("json:dumps", "cron", hour=9, id="a", args=[[1, "x"]], kwargs={"indent": 2}),
        lambda jobs: jobs.add_job("json:loads", "interval", hours=3, id="b", args=["{}"], max_instances=3),
        lambda jobs: jobs.add_job(
            "os.path:join", "date", run_date="2100-01-01", id="c", args=["x"], next_run_time=None
        ),
    )
    before = (tmp_path / "jobs.db").read_bytes()
    first, second, third = read(url).found
    assert (first.name, first.param.work_id, first.function) == ("a", "dumps", "json:dumps")
    assert first.param.param == Params(([1, "x"],), {"indent": 2})
    assert (second.options.overlap, second.notes) == (
        "allow",
        ("max_instances=3: there is no limit, runs may overlap",),
    )
    assert (third.param.work_id, third.paused) == ("join", "it was paused in APScheduler")
    assert (tmp_path / "jobs.db").read_bytes() == before


def test_work_is_what_the_user_says() -> None:
    state = pickle.dumps({**JOB, "trigger": DateTrigger(START)})
    (found,) = read_jobs([("x", 1.0, state)], {"shop.jobs:send": "mail.send"}, NOW).found
    assert found.param.work_id == "mail.send"


def test_two_functions_are_one_work_only_where_the_user_says_so() -> None:
    rows = [
        (name, 1.0, pickle.dumps({**JOB, "func": f"{name}:send", "trigger": DateTrigger(START)})) for name in ("a", "b")
    ]
    with pytest.raises(OptionError, match="a:send and b:send would both be the work 'send': say --work b:send=ID"):
        check(read_jobs(rows, {}, NOW).found, {})
    for works in ({"b:send": "other"}, {"a:send": "send", "b:send": "send"}):
        check(read_jobs(rows, works, NOW).found, works)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("one", timedelta(seconds=1), timedelta(seconds=1), "skip")),
        ({"misfire_grace_time": 600}, ("one", timedelta(minutes=10), timedelta(minutes=1), "skip")),
        ({"misfire_grace_time": None}, ("one", WINDOW_MAX, timedelta(minutes=1), "skip")),
        ({"coalesce": False, "max_instances": 2}, ("all", timedelta(seconds=1), timedelta(seconds=1), "allow")),
    ],
)
def test_what_runs_late_and_over_another_is_as_it_was(changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    options = job(cron(hour=9), **changes).options
    assert (options.catchup, options.window, options.misfire, options.overlap) == expected


def test_jitter_is_kept_and_told_of_where_it_cannot_be() -> None:
    assert job(cron(hour=9, jitter=30)).options.jitter == timedelta(seconds=30)
    whole = OrTrigger([cron(hour=9, jitter=30), IntervalTrigger(hours=1, start_date=START)], jitter=5)
    found = job(whole)
    assert found.options.jitter == timedelta(seconds=5)
    assert len(found.notes) == 2


def test_another_executor_is_told_of() -> None:
    assert "its executor 'processpool' is left out" in job(cron(hour=9), executor="processpool").notes[0]


def test_arguments_of_time_stay_times() -> None:
    when = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=ZoneInfo("Asia/Tokyo"))
    given = (when, dt.date(2026, 3, 4), timedelta(hours=1), {"a": (1, None, 2.5)}, {3})
    assert job(cron(hour=9), args=given).param.param == Params((*given[:3], {"a": [1, None, 2.5]}, [3]))


class Order:
    """An object of an application."""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"args": (Order(),)}, "an argument is no plain data but tests.importers.test_apscheduler.Order"),
        ({"kwargs": {"x": {1: 2}}}, "has a key that is no text"),
        ({"args": (2**80,)}, "a number that is not one, or too large"),
        ({"args": (datetime(2026, 1, 1),)}, "has no time zone"),  # noqa: DTZ001 - that is the point
        ({"version": 2}, "no job that APScheduler 3 stores"),
        ({"func": None}, "no job that APScheduler 3 stores"),
        ({"func": "shop:<lambda>"}, "can be no work id: say --work shop:<lambda>=ID"),
    ],
)
def test_what_of_a_job_has_no_counterpart_is_left_out(changes: dict[str, Any], reason: str) -> None:
    assert reason in left_out(cron(hour=9), **changes)


class Custom(CronTrigger):  # type: ignore[misc] # it says nothing of its types
    """A trigger of an application."""


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        (lambda: cron(week=3), "has a `week` of the year"),
        (lambda: cron(year="*/2"), "years by steps"),
        (lambda: Custom(hour=9, timezone="UTC"), "tests.importers.test_apscheduler:Custom, which is none of"),
        (lambda: cron(hour=9, timezone=dt.timezone(timedelta(hours=5, minutes=30))), "which has no IANA name"),
        (lambda: DateTrigger("2020-01-01", timezone="UTC"), "its time, 2020-01-01T00:00:00+00:00, has passed"),
        (lambda: CalendarIntervalTrigger(months=1, days=1, timezone="UTC"), "give months and years, or days and weeks"),
        (lambda: cron(month=2, day=30), "it never comes true"),
        (lambda: cron(hour=9, jitter=2**62), "out of range"),
        (lambda: cron(hour=9, end_date=datetime.max.replace(tzinfo=UTC)), "a time that is out of range"),
        (lambda: cron(hour=9, start_date=START, end_date=START - timedelta(days=1)), "before it starts"),
        (lambda: None, "its trigger is none"),
        (lambda: cron(hour=9, year=",".join(map(str, range(2026, 2070, 2)))), "bytes is longer than the 1024"),
    ],
)
def test_a_trigger_without_a_counterpart_is_left_out(trigger: Callable[[], Any], reason: str) -> None:
    assert reason in left_out(trigger())


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (UTC, "UTC"),
        (dt.timezone(timedelta(hours=9)), "Etc/GMT-9"),
        (dt.timezone(timedelta(hours=-5)), "Etc/GMT+5"),
        (ZoneInfo("America/New_York"), "America/New_York"),
    ],
)
def test_a_zone_has_its_name(zone: dt.tzinfo, name: str) -> None:
    found = job(cron(hour=9, timezone=zone))
    assert getattr(found.when, "tz", None) == name


def test_a_date_and_an_interval_are_at_their_instants() -> None:
    assert job(DateTrigger(START)).when == Instants((START,))
    assert job(IntervalTrigger(minutes=5, start_date=START)).when == Every(timedelta(minutes=5), start=START)


def add_hourly(jobs: BackgroundScheduler) -> None:
    jobs.add_job("json:dumps", "cron", hour="*", id="hourly", args=[1])


def test_a_store_on_postgresql_is_read(postgres: str, tmp_path: Path) -> None:
    peer = postgres.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        make_store(tmp_path, add_hourly, url=peer, tablename="jobs_of_shop")
        (row,) = read_table(peer, "public.jobs_of_shop", COLUMNS)
    finally:
        query(postgres, "DROP TABLE IF EXISTS public.jobs_of_shop")
    assert [found.name for found in read_jobs([row], {}, NOW).found] == ["hourly"]


def test_what_is_no_job_store_is_refused(tmp_path: Path, postgres: str) -> None:
    (tmp_path / "text.db").write_text("no database " * 99, encoding="utf-8")
    url = make_store(tmp_path / "jobs.db")
    for wrong, table, reason in (
        (f"sqlite:///{tmp_path / 'none.db'}", TABLE, "there is no file"),
        (f"sqlite:///{tmp_path / 'text.db'}", TABLE, "cannot be read"),
        (url, "other", "no such table"),
        (url, 'x"; DROP TABLE apscheduler_jobs --', "use a name of letters"),
        ("mysql://root:secret@host/db", TABLE, "is no database that can be read"),
        (postgres, "no_such_table", "no_such_table"),
    ):
        with pytest.raises(KokugenError, match=reason) as refused:
            read_table(wrong, table, COLUMNS)
        assert "secret" not in str(refused.value)
    assert read_table(url, TABLE, COLUMNS) == []
