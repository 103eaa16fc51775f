"""Dumps of django-celery-beat as schedules: as `manage.py dumpdata django_celery_beat` writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kokugen.importers.django_beat import is_dump, read_dump
from kokugen.importers.found import Found, Reading
from kokugen.recurrence import AllOf, Cron, Every, Instants
from kokugen.task import Params, Priority

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TASK: dict[str, Any] = {
    "name": "send",
    "task": "shop.tasks.send",
    "interval": None,
    "crontab": None,
    "solar": None,
    "clocked": None,
    "args": "[]",
    "kwargs": "{}",
    "queue": None,
    "exchange": None,
    "routing_key": None,
    "headers": "{}",
    "priority": None,
    "expires": None,
    "expire_seconds": None,
    "one_off": False,
    "start_time": None,
    "enabled": True,
    "last_run_at": "2026-02-28T00:00:00Z",
    "total_run_count": 7,
    "date_changed": "2026-02-28T00:00:00Z",
    "description": "",
}
CRONTAB = {"minute": "0", "hour": "9", "day_of_week": "*", "day_of_month": "*", "month_of_year": "*"}
SCHEDULES = [
    ("crontabschedule", 1, {**CRONTAB, "timezone": "Europe/Berlin"}),
    ("crontabschedule", 2, {**CRONTAB, "minute": "0, 30", "day_of_week": "mon", "day_of_month": "1-7"}),
    ("crontabschedule", 3, {**CRONTAB, "hour": "25"}),
    ("intervalschedule", 1, {"every": 90, "period": "minutes"}),
    ("intervalschedule", 2, {"every": 5, "period": "years"}),
    ("intervalschedule", 3, {"every": 10**12, "period": "days"}),
    ("solarschedule", 1, {"event": "sunset", "latitude": "1.0", "longitude": "2.0"}),
    ("clockedschedule", 1, {"clocked_time": "2026-12-24T18:00:00Z"}),
    ("clockedschedule", 2, {"clocked_time": "2020-12-24T18:00:00Z"}),
]


def dump(*tasks: dict[str, Any]) -> list[Any]:
    records = [{"model": f"django_celery_beat.{model}", "pk": pk, "fields": fields} for model, pk, fields in SCHEDULES]
    records += [
        {"model": "django_celery_beat.periodictask", "pk": number, "fields": {**TASK, **task}}
        for number, task in enumerate(tasks)
    ]
    return [*records, {"model": "django_celery_beat.periodictasks", "pk": 1, "fields": {"last_update": "x"}}]


def read(*tasks: dict[str, Any]) -> Reading:
    return read_dump(dump(*tasks), {}, NOW, None)


def one(**task: Any) -> Found:
    reading = read(task)
    assert reading.left_out == ()
    return reading.found[0]


def test_a_crontab_has_its_zone() -> None:
    found = one(crontab=1)
    assert (found.when, found.name, found.param.work_id) == (
        Cron("0 9 * * *", tz="Europe/Berlin"),
        "send",
        "send",
    )
    assert (found.paused, found.notes) == (None, ())


def test_a_crontab_without_a_zone_is_in_celerys_and_needs_both_days() -> None:
    reading = read_dump(dump({"crontab": 2}), {}, NOW, "Asia/Tokyo")
    days = (Cron("0,30 9 1-7 * *", tz="Asia/Tokyo"), Cron("0,30 9 * * mon", tz="Asia/Tokyo"))
    assert reading.found[0].when == AllOf(days)


def test_an_interval_counts_from_when_it_is_put_there_or_from_its_start() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    assert one(interval=1).when == timedelta(minutes=90)
    assert one(interval=1, start_time="2026-05-01T00:00:00Z").when == Every(timedelta(minutes=90), start=start)


def test_a_crontab_comes_from_its_start_on_and_until_it_expires() -> None:
    found = one(crontab=1, start_time="2026-05-01T00:00:00Z", expires="2026-06-01T12:00:00+02:00")
    assert not isinstance(found.when, timedelta)
    assert found.when.next(NOW) == datetime(2026, 5, 1, 7, tzinfo=UTC)
    assert found.options.end == datetime(2026, 6, 1, 10, tzinfo=UTC)


def test_a_clocked_task_comes_once() -> None:
    found = one(clocked=1)
    assert found.when == Instants((datetime(2026, 12, 24, 18, tzinfo=UTC),))
    assert found.options.max_runs == 1


def test_what_is_to_run_once_runs_once() -> None:
    assert one(crontab=1, one_off=True).options.max_runs == 1
    assert one(crontab=1).options.max_runs is None


def test_what_was_not_enabled_is_paused() -> None:
    assert one(crontab=1, enabled=False).paused == "it was not enabled in django-celery-beat"


def test_arguments_queue_priority_and_expiry_are_kept() -> None:
    found = one(
        crontab=1, args='[1, "x"]', kwargs='{"a": null}', queue="mail", priority=7, expire_seconds=60, exchange="e"
    )
    assert found.param.param == Params((1, "x"), {"a": None})
    assert (found.param.queue, found.param.priority) == ("mail", Priority.HIGH)
    assert found.param.start_within == timedelta(minutes=1)
    assert found.notes[1:] == ("its exchange is left out",)
    assert one(crontab=1, headers='{"x": 1}').notes == ("its headers are left out",)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"solar": 1}, "the sun's times"),
        ({"clocked": 2}, "its time, 2020-12-24T18:00:00+00:00, has passed"),
        ({"clocked": 1, "enabled": False}, "it was to run once, and has run"),
        ({"crontab": 3}, "'25' is not an hour"),
        ({"interval": 2}, "its interval is none that is known here"),
        ({"interval": 3}, "longer than any"),
        ({"crontab": 99}, "that it names is not in the dump"),
        ({}, "it has 0 schedules"),
        ({"crontab": 1, "interval": 1}, "it has 2 schedules"),
        ({"crontab": 1, "args": "[1"}, "its args are no JSON"),
        ({"crontab": 1, "args": "{}"}, "its args are no list"),
        ({"crontab": 1, "start_time": "soon"}, "its start_time is no time"),
        ({"crontab": 1, "task": "celery.backend_cleanup"}, "celery's own housekeeping"),
        ({"crontab": 1, "name": ""}, "name=''"),
        ({"crontab": 1, "expire_seconds": 10**15}, "out of range"),
        ({"crontab": 1, "expires": "0001-01-01T00:00:00+14:00"}, "use an aware datetime of the years 1970"),
    ],
)
def test_what_has_no_counterpart_is_left_out(task: dict[str, Any], reason: str) -> None:
    reading = read({"name": "good", "crontab": 1}, {"name": "bad", **task})
    assert [found.name for found in reading.found] == ["good"]
    assert reason in reading.left_out[0].reason


def test_a_dump_of_another_application_is_none() -> None:
    assert is_dump(dump())
    assert not is_dump([{"model": "auth.user", "pk": 1, "fields": {}}])
    assert not is_dump({"model": "django_celery_beat.periodictask"})
    assert not is_dump([1, "x", None])
