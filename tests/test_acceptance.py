"""Which times are accepted, what is kept of them, and what rows become of tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import TZPATH, ZoneInfo

import pytest

from kokugen.acceptance import Intake, check_time, request_of, row_of
from kokugen.clock import to_us
from kokugen.errors import ScheduledTimeError
from kokugen.registry.functions import FunctionRegistry
from kokugen.retry import Retry
from kokugen.task import Params, TaskParam

BERLIN = ZoneInfo("Europe/Berlin")
SKIPPED = datetime(2026, 3, 29, 2, 30)  # noqa: DTZ001 - the zone is to come
TWICE = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001


class Wrapped(tzinfo):
    """A zone of another library: its clocks are those of a ZoneInfo, and it is none."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None if when is None else when.replace(tzinfo=self._zone).utcoffset()

    def dst(self, when: datetime | None) -> timedelta | None:
        return None if when is None else when.replace(tzinfo=self._zone).dst()

    def tzname(self, when: datetime | None) -> str:
        return "wrapped"

    def fromutc(self, when: datetime) -> datetime:
        there = when.replace(tzinfo=UTC).astimezone(self._zone)
        return there.replace(tzinfo=self)


class OneWay(Wrapped):
    """A zone that cannot tell which local time an instant is."""

    def fromutc(self, when: datetime) -> datetime:
        raise NotImplementedError


@pytest.mark.parametrize("zone", [BERLIN, Wrapped(BERLIN)], ids=["zoneinfo", "other"])
@pytest.mark.parametrize("fold", [0, 1])
def test_a_local_time_that_the_clocks_skip_is_refused_in_zones_of_every_kind(zone: tzinfo, fold: int) -> None:
    with pytest.raises(ScheduledTimeError, match="does not exist"):
        check_time(SKIPPED.replace(tzinfo=zone, fold=fold))


@pytest.mark.parametrize("zone", [BERLIN, Wrapped(BERLIN)], ids=["zoneinfo", "other"])
def test_of_a_local_time_that_comes_twice_fold_says_which(zone: tzinfo) -> None:
    first, second = (check_time(TWICE.replace(tzinfo=zone, fold=fold))[0] for fold in (0, 1))
    assert first == to_us(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert second - first == 3_600_000_000


def test_a_named_zone_and_the_local_time_are_kept() -> None:
    assert check_time(TWICE.replace(tzinfo=BERLIN))[1:] == ("Europe/Berlin", "2026-10-25T02:30:00")
    assert check_time(TWICE.replace(tzinfo=BERLIN, fold=1))[1:] == ("Europe/Berlin", "2026-10-25T02:30:00/1")


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("UTC"), timezone(timedelta(hours=5)), Wrapped(BERLIN), OneWay(BERLIN)])
def test_a_zone_without_a_lasting_name_is_not_kept(zone: tzinfo) -> None:
    assert check_time(datetime(2026, 5, 1, 12, tzinfo=zone))[1:] == (None, None)


@pytest.mark.skipif(not TZPATH, reason="this system has no files of zones")
def test_a_zone_that_came_from_a_file_has_no_name_to_keep() -> None:
    files = [Path(folder) / "Europe" / "Berlin" for folder in TZPATH]
    found = next((path for path in files if path.exists()), None)
    if found is None:
        pytest.skip("this system has no file for Europe/Berlin: install tzdata")
    with found.open("rb") as file:
        zone = ZoneInfo.from_file(file)
    assert check_time(datetime(2026, 5, 1, 12, tzinfo=zone)) == (
        to_us(datetime(2026, 5, 1, 10, tzinfo=UTC)),
        None,
        None,
    )


works = FunctionRegistry()


@works.work
def plain() -> None: ...


@works.work(queue="mail", priority=3, tags=("a", "b"), retry=Retry(attempts=3), unique="one", max_lost=1)
def declared(*args: int, **kwargs: int) -> None: ...


@works.work(start_within=timedelta(minutes=1), timeout=timedelta(minutes=2))
def timed(*args: int) -> None: ...


WHEN = datetime(2026, 5, 1, 12, tzinfo=BERLIN)


@pytest.mark.parametrize("work_id", ["plain", "declared", "timed", "known-elsewhere"])
@pytest.mark.parametrize("param", [None, (), [1, 2], Params((1,), {})], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"priority": 0}, {"id": "mine", "queue": "own"}, {"start_within": timedelta(hours=1)}], ids=str
)
def test_many_tasks_become_the_same_rows_as_each_alone(work_id: str, param: Any, options: dict[str, Any]) -> None:
    param = None if work_id == "plain" else param  # it takes none
    work = works.load(work_id)
    one = TaskParam(work_id=work_id, scheduled_time=WHEN, param=param, **options)
    declared = work.declared if work else None
    alone = row_of(request_of(one, declared), "new", work, declared, payloads=None)
    intake = Intake(works.load, lambda: "new", lambda request: [row_of(request, "new", work, declared, payloads=None)])
    assert [intake.rows(one), intake.rows(one)] == [[alone], [alone]]
