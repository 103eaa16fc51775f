"""What celery beat sends as schedules: the entries of a real application, written down as the manual says."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest

from kokugen.errors import InvalidEntryError
from kokugen.importers.beat import read_beat_schedule
from kokugen.importers.found import WINDOW_MAX, Found, Reading
from kokugen.recurrence import Cron
from kokugen.recurrence.trigger import Trigger
from kokugen.task import Params, Priority

if sys.version_info >= (3, 15):  # elsewhere it is in the locked set, and its absence is a failure
    pytest.importorskip("celery")
celery, schedules = import_module("celery"), import_module("celery.schedules")

NOW = datetime(2026, 1, 10, 11, 12, 13, tzinfo=UTC)
COUNT = 40


def application(zone: str, **entries: Any) -> Any:
    app = celery.Celery("shop", set_as_current=False)
    app.conf.timezone = zone
    app.conf.beat_schedule = {name: {"task": "shop.tasks.send", "schedule": one} for name, one in entries.items()}
    return app


def written(app: Any) -> dict[str, Any]:
    document = {"timezone": str(app.timezone), "beat_schedule": app.conf.beat_schedule}
    found: dict[str, Any] = json.loads(json.dumps(document, default=repr))
    return found


def read(document: dict[str, Any], **given: Any) -> Reading:
    return read_beat_schedule(document, given.get("works", {}), NOW, given.get("tz"))


def one(**entry: Any) -> Found:
    reading = read({"x": {"task": "shop.tasks.send", "schedule": 60, **entry}})
    assert reading.left_out == ()
    return reading.found[0]


def left_out(**entry: Any) -> str:
    (left,) = read({"x": {"task": "shop.tasks.send", "schedule": 60, **entry}}).left_out
    return left.reason


def times_of_peer(app: Any, schedule: Any, count: int) -> list[datetime]:
    came: list[datetime] = []
    at = NOW
    while len(came) < count:
        schedule.nowfun, schedule.app = lambda at=at: at, app
        at = at + schedule.remaining_estimate(at)
        came.append(at)
    return came


CRONTABS: dict[str, dict[str, Any]] = {
    "every minute": {},
    "hours": {"minute": 0, "hour": "*/3"},
    "lists and ranges": {"minute": "0,30-34,50-58/4", "hour": "9-17"},
    "sets": {"minute": {0, 30}, "hour": [9, 10, 11]},
    "one of a set": {"minute": {7}, "hour": (9,)},
    "names": {"minute": 0, "hour": 9, "day_of_week": "mon-fri"},
    "whole names": {"minute": 0, "hour": 9, "day_of_week": "Monday,thursday"},
    "over the weekend": {"minute": 0, "hour": 9, "day_of_week": "sat-mon"},
    "both days": {"minute": 0, "hour": 9, "day_of_month": "1-7", "day_of_week": "mon"},
    "both days by steps": {"minute": 0, "hour": 9, "day_of_month": "*/2", "day_of_week": "fri"},
    "months": {"minute": 0, "hour": 9, "day_of_month": "31", "month_of_year": "*/2"},
    "months around": {"minute": 0, "hour": 9, "day_of_month": 5, "month_of_year": "11-2"},
}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("name", CRONTABS)
def test_a_crontab_comes_when_celery_would_send_it(name: str, zone: str) -> None:
    crontab = schedules.crontab(**CRONTABS[name])
    app = application(zone, x=crontab)
    (found,) = read(written(app)).found
    assert isinstance(found.when, Trigger)
    at, came = NOW, list[datetime]()
    while len(came) < COUNT:
        following = found.when.next(at)
        assert following is not None
        at = following
        came.append(at)
    assert came == times_of_peer(app, crontab, COUNT)


@pytest.mark.parametrize(
    ("schedule", "period"),
    [
        (30, timedelta(seconds=30)),
        (0.5, timedelta(seconds=0.5)),
        (timedelta(days=1, seconds=90, microseconds=7), timedelta(days=1, seconds=90, microseconds=7)),
        (timedelta(hours=5), timedelta(hours=5)),
        ("schedule", timedelta(seconds=45)),
        ("hours", timedelta(hours=2)),
    ],
)
def test_a_period_is_one(schedule: Any, period: timedelta) -> None:
    real = {"schedule": schedules.schedule(45), "hours": schedules.schedule(timedelta(hours=2))}
    (found,) = read(written(application("UTC", x=real.get(schedule, schedule)))).found
    assert found.when == period


def test_the_order_of_fields_of_older_versions_is_known() -> None:
    found = one(schedule="<crontab: 5 4 mon 1 * (m/h/d/dM/MY)>")
    both = one(schedule="<crontab: 5 4 1 * mon (m/h/dM/MY/d)>")
    assert found.when == both.when


def test_the_zone_is_the_applications_or_what_is_said() -> None:
    app = application("Asia/Tokyo", x=schedules.crontab(minute=0, hour=9))
    (own,), (said,) = read(written(app)).found, read(written(app), tz="Europe/Berlin").found
    assert (own.when, said.when) == (Cron("0 9 * * *", tz="Asia/Tokyo"), Cron("0 9 * * *", tz="Europe/Berlin"))
    assert one(schedule="<crontab: 0 9 * * * (m/h/dM/MY/d)>").when == Cron("0 9 * * *")


def test_arguments_queue_priority_and_expiry_are_kept() -> None:
    found = one(args=[1, "x"], kwargs={"a": {"b": 2}}, options={"queue": "mail", "priority": 9, "expires": 90})
    assert found.param.param == Params((1, "x"), {"a": {"b": 2}})
    assert (found.param.queue, found.param.priority) == ("mail", Priority.URGENT)
    assert found.param.start_within == timedelta(seconds=90)
    assert one(options={"queue": "celery"}).param.queue == "default"


@pytest.mark.parametrize(("priority", "level"), [(0, 0), (2, 0), (3, 1), (6, 2), (8, 2), (9, 3), (255, 3)])
def test_a_priority_is_one_of_four(priority: int, level: int) -> None:
    found = one(options={"priority": priority})
    assert found.param.priority == level
    assert f"priority {priority}" in found.notes[0]


def test_it_goes_on_as_beat_does() -> None:
    options = one().options
    assert (options.name, options.catchup, options.window, options.overlap) == ("x", "one", WINDOW_MAX, "allow")


def test_what_is_not_known_of_options_is_told_of() -> None:
    assert one(options={"countdown": 3, "exchange": "e"}).notes == ("left out of its options: countdown, exchange",)


def test_the_work_is_the_tasks_own_name_or_what_the_user_says() -> None:
    assert one().param.work_id == "send"
    entry = {"x": {"task": "shop.tasks.send", "schedule": 5}}
    (found,) = read(entry, works={"shop.tasks.send": "mail"}).found
    assert (found.param.work_id, found.function) == ("mail", "shop.tasks.send")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"schedule": "<solar: sunset at latitude 1, longitude: 2>"}, "the sun's times"),
        ({"schedule": "<freq: 1.02 hours>"}, "is rounded"),
        ({"schedule": "<shop.Moon object at 0x7f>"}, "is none that is known here"),
        ({"schedule": "<crontab: 0 9 * * (m/h/dM/MY/d)>"}, "is none that is known here"),
        ({"schedule": "<crontab: 0 99 * * * (m/h/dM/MY/d)>"}, "'99' is not an hour"),
        ({"schedule": None}, "is none that is known here"),
        ({"schedule": True}, "is none that is known here"),
        ({"schedule": 0}, "is none: beat sends it again and again"),
        ({"schedule": 1e99}, "cannot be"),
        ({"schedule": "datetime.timedelta(days=-1)"}, "is none: beat sends it again"),
        ({"task": "celery.backend_cleanup"}, "celery's own housekeeping"),
        ({"task": 5}, "its task is no text"),
        ({"args": "abc"}, "its args are no list"),
        ({"options": {"priority": "high"}}, "its priority is not 0 to 255"),
        ({"options": {"expires": "2026-01-01"}}, "expire at one instant"),
        ({"options": 5}, "its options are none"),
        ({"options": {"queue": "no queue!"}}, "queue 'no queue!' is not allowed"),
        ({"options": {"expires": -1}}, "start_within="),
        ({"task": "shop.no task"}, "can be no work id: say --work shop.no task=ID"),
        ({"args": ["x" * 3_000_000]}, "bytes"),
    ],
)
def test_what_has_no_counterpart_is_left_out(entry: dict[str, Any], reason: str) -> None:
    assert reason in left_out(**entry)


@pytest.mark.parametrize("document", [{"a": 1}, {"beat_schedule": [1]}, {"a": {"schedule": 5}}, {"beat_schedule": 5}])
def test_what_is_no_beat_schedule_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidEntryError, match="no beat_schedule"):
        read(document)
