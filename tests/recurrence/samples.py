"""One trigger of every kind, and some more of those that have several ways to go wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from kokugen.recurrence import (
    AllOf,
    AnyOf,
    BusinessDays,
    CalendarInterval,
    Complement,
    Cron,
    Days,
    Every,
    Instants,
    Joined,
    NthDay,
    RRule,
    Trigger,
    Weekly,
    Windows,
)

BERLIN = ZoneInfo("Europe/Berlin")
FAIR = Windows(((datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 4, 12, tzinfo=UTC)),))
HOLIDAYS = Days((date(2026, 1, 1), date(2026, 4, 3), date(2026, 12, 25)), tz="Europe/Berlin")
CALENDARS = (
    FAIR,
    HOLIDAYS,
    Weekly("mon-fri", time(9), time(17, 30), tz="Europe/Berlin"),
    Weekly("fri", time(22), time(6), tz="America/New_York"),
    BusinessDays(tz="Europe/Berlin", holidays=HOLIDAYS),
    Joined((FAIR, HOLIDAYS)),
    Complement(FAIR),
)
NAIVE = datetime(2026, 1, 1, 2, 30, tzinfo=UTC).replace(tzinfo=None)
TRIGGERS: tuple[Trigger, ...] = (
    Cron("0 9 * * mon-fri", tz="Asia/Tokyo"),
    Cron("30 2 * * *", tz="Europe/Berlin"),
    Cron("30 2 * * *", tz="Europe/Berlin", gap="skip", fold="both"),
    Cron("*/10 1-3 * * *", tz="Australia/Lord_Howe", fold="second"),
    Cron("0 0 12 ? * 2#1 ", tz="America/St_Johns"),
    Cron("10-20/3 * 0,12 LW * *", tz="Europe/Berlin"),
    Cron("@every 7h"),
    Cron("H H(1-5) * * *", key="backup", tz="Pacific/Apia"),
    Every(timedelta(minutes=100)),
    Every(timedelta(hours=7, microseconds=3), start=datetime(2026, 2, 1, 9, tzinfo=BERLIN)),
    CalendarInterval(date(2026, 1, 31), months=1, at=time(2, 30), tz="Europe/Berlin"),
    CalendarInterval(date(2026, 1, 31), months=1, overflow="skip"),
    CalendarInterval(date(2024, 2, 29), years=1, overflow="next", at=time(23, 59, 59)),
    CalendarInterval(date(2026, 3, 1), days=10, at=time(2, 15), tz="Europe/Berlin", fold="both"),
    CalendarInterval(date(2026, 3, 1), weeks=2, tz="Africa/Cairo"),
    RRule("FREQ=MONTHLY;BYDAY=-1FR", NAIVE, tz="Europe/Berlin"),
    RRule("FREQ=DAILY;INTERVAL=3;COUNT=40", NAIVE, (NAIVE + timedelta(days=3),), (NAIVE + timedelta(days=1),)),
    RRule("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU;BYHOUR=2,3;UNTIL=20261101T000000Z", NAIVE, tz="Europe/Berlin"),
    RRule("FREQ=HOURLY;INTERVAL=5", NAIVE, tz="Europe/Berlin"),
    RRule("FREQ=MINUTELY;INTERVAL=25;BYHOUR=1,2,3;BYDAY=SA,SU", NAIVE, tz="Europe/Berlin"),
    RRule("FREQ=YEARLY;BYWEEKNO=1,20;BYDAY=MO", NAIVE, tz="Asia/Tokyo"),
    NthDay(-1, BusinessDays(tz="Asia/Tokyo"), at=time(17), tz="Asia/Tokyo"),
    NthDay(
        3, BusinessDays(tz="Europe/Berlin", holidays=HOLIDAYS), at=time(2, 30), tz="Europe/Berlin", months="jan-jun"
    ),
    Instants((datetime(2026, 5, 1, 1, 2, 3, 4, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=BERLIN))),
    AnyOf((Cron("0 9 * * *"), Every(timedelta(hours=9)), Cron("0 */3 * * *", tz="Asia/Kolkata"))),
    AllOf((Cron("0 * * * *", tz="Europe/Berlin"), Every(timedelta(hours=7)))),
    Cron("0 * * * *") - Cron("0 9-17 * * *"),
    Cron("*/20 * * * *", tz="Europe/Berlin") & CALENDARS[2],
    Cron("0 0 * * *", tz="Europe/Berlin") & BusinessDays(tz="Europe/Berlin", holidays=HOLIDAYS),
    Every(timedelta(hours=5)) - CALENDARS[3],
    Cron("0 */6 * * *") & ((CALENDARS[4] | FAIR) - CALENDARS[3]),
)
