"""Times and zones out of pickles that were not loaded: of every protocol, and every library that jobs are made with."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz

from kokugen.importers.found import NotCarriedError
from kokugen.importers.noted import date_of, instant_of, plain_of, span_of, zone_of
from kokugen.importers.pickled import read_pickle

PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
BERLIN = ZoneInfo("Europe/Berlin")
PYTZ = {  # as pytz pickles them: it is not installed here
    b"cpytz\n_UTC\n(tR.": "UTC",
    b"cpytz\n_p\n(VAsia/Tokyo\nI32400\nI0\nVJST\ntR.": "Asia/Tokyo",
    b"cpytz\n_p\n(VEurope/Berlin\nI3180\nI0\nVLMT\ntR.": "Europe/Berlin",
    b"cpytz\n_p\n(VEtc/GMT+5\ntR.": "Etc/GMT+5",
    b"cpytz\nFixedOffset\n(I-120\ntR.": "Etc/GMT+2",
}


@PROTOCOLS
@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (dt.UTC, "UTC"),
        (dt.timezone(dt.timedelta(hours=-12)), "Etc/GMT+12"),
        (dt.timezone(dt.timedelta(hours=14)), "Etc/GMT-14"),
        (BERLIN, "Europe/Berlin"),
        (ZoneInfo("UTC"), "UTC"),
        (tz.UTC, "UTC"),
        (tz.tzoffset(None, 7200), "Etc/GMT-2"),
    ],
)
def test_a_zone_has_its_name(zone: dt.tzinfo, name: str, protocol: int) -> None:
    assert zone_of(read_pickle(pickle.dumps(zone, protocol))) == name


@PROTOCOLS
def test_a_zone_that_dateutil_read_from_a_file_has_its_name(protocol: int) -> None:
    found = tz.gettz("Europe/Berlin")
    if found is None or "zoneinfo" not in str(getattr(found, "_filename", "")):
        pytest.skip("this system has no files of time zones: install tzdata")
    assert zone_of(read_pickle(pickle.dumps(found, protocol))) == "Europe/Berlin"


@pytest.mark.parametrize("pickled", PYTZ)
def test_a_zone_of_pytz_has_its_name(pickled: bytes) -> None:
    assert zone_of(read_pickle(pickled)) == PYTZ[pickled]


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        (dt.timezone(dt.timedelta(minutes=330)), "the offset 5:30:00, which has no IANA name"),
        (dt.timezone(dt.timedelta(hours=-13)), "which has no IANA name"),
        (tz.tzlocal(), "dateutil.tz.tz.tzlocal, which has no name that is known here"),
        ("Europe/Berlin", "str is not a time zone"),
        (None, "NoneType is not a time zone"),
    ],
)
def test_a_zone_without_a_name_is_refused(zone: Any, reason: str) -> None:
    with pytest.raises(NotCarriedError, match=reason):
        zone_of(read_pickle(pickle.dumps(zone)))


@pytest.mark.parametrize("name", ["Mars/Base", "../../etc/passwd", "", "/etc/passwd"])
def test_a_zone_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(NotCarriedError, match="there is no time zone"):
        zone_of(read_pickle(b"cpytz\n_p\n(V" + name.encode() + b"\ntR."))


@PROTOCOLS
@pytest.mark.parametrize(
    "when",
    [
        dt.datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=dt.UTC),
        dt.datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime(1970, 1, 1, tzinfo=tz.UTC),
    ],
)
def test_an_instant_is_the_same_one(when: dt.datetime, protocol: int) -> None:
    when = when if protocol >= 4 else when.replace(fold=0)  # which older protocols do not keep
    found = instant_of(read_pickle(pickle.dumps(when, protocol)))
    assert found is not None
    assert found.astimezone(dt.UTC) == when.astimezone(dt.UTC)
    assert found.replace(tzinfo=None) == when.replace(tzinfo=None)


def test_an_instant_of_pytz_has_the_offset_that_it_says() -> None:
    """The same local time twice: summer time first, which pytz tells apart by the offset."""
    raw = pickle.dumps(dt.datetime(2026, 10, 25, 2, 30), 2)  # noqa: DTZ001 - the zone is put in
    for offset, hour in ((7200, 0), (3600, 1)):
        zone = b"cpytz\n_p\n(VEurope/Berlin\nI%d\nI0\nVCET\ntR" % offset
        whole = raw.replace(b"\x85q", zone + b"\x86q", 1)
        assert instant_of(read_pickle(whole)) == dt.datetime(2026, 10, 25, hour, 30, tzinfo=dt.UTC)


@PROTOCOLS
def test_dates_and_spans_are_the_same_ones(protocol: int) -> None:
    day, span = dt.date(2026, 2, 28), dt.timedelta(days=-1, seconds=7, microseconds=9)
    assert date_of(read_pickle(pickle.dumps(day, protocol))) == day
    assert span_of(read_pickle(pickle.dumps(span, protocol))) == span
    assert plain_of(read_pickle(pickle.dumps([day, (span,)], protocol)), "it") == [day, [span]]


@pytest.mark.parametrize(
    ("pickled", "read"),
    [
        (b"cdatetime\ndatetime\n(C\x0a" + bytes(10) + b"cpytz\n_UTC\n(tRtR.", instant_of),
        (b"cdatetime\ndatetime\n(C\x03abccpytz\n_UTC\n(tRtR.", instant_of),
        (b"cdatetime\ndatetime\n(tR.", instant_of),
        (b"cos\nsystem\n(Vx\ntR.", instant_of),
        (b"cdatetime\ndate\n(C\x04\x07\xea\x0d\x01tR.", date_of),
        (b"cdatetime\ndate\n(C\x02abtR.", date_of),
        (b"cdatetime\ndate\n(I5\ntR.", date_of),
        (b"cdatetime\ntimedelta\n(I999999999999\ntR.", span_of),
        (b"cdatetime\ntimedelta\n(Vx\ntR.", span_of),
        (b"I5\n.", span_of),
    ],
)
def test_what_cannot_be_a_time_is_refused(pickled: bytes, read: Any) -> None:
    with pytest.raises(NotCarriedError):
        read(read_pickle(pickled))
