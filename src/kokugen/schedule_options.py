"""What can be said of a schedule besides its trigger, work and arguments. Rides on the work: `work.options(…)`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, get_args

from msgspec import Struct

from kokugen.errors import OptionError

CatchupName = Literal["skip", "one", "all"]
OverlapName = Literal["skip", "queue_one", "queue_all", "replace", "allow"]
YEARS = range(1970, 9000)
SPAN_MAX = timedelta(days=366 * 10)
NAME_MAX = 200
CATCHUP_MAX = 10_000
RATE_MAX = 1e6
RUNS_MAX = 2**53
IMPORTED = "import:"
"""How the owner of what was imported begins; code that declares a schedule of this name takes it over."""


def is_imported(owner: str | None) -> bool:
    """Return whether this is the owner of what was imported."""
    return owner is not None and owner.startswith(IMPORTED)


class ScheduleChanges(TypedDict, total=False):
    """The keywords of `options(…)` that are about a schedule."""

    name: str | None
    owner: str | None
    start: datetime | None
    end: datetime | None
    max_runs: int | None
    jitter: timedelta
    catchup: CatchupName
    window: timedelta
    misfire: timedelta
    catchup_max: int | None
    rate: float | None
    overlap: OverlapName
    failures_max: int | None
    by: str | None
    why: str | None


class ScheduleOptions(Struct, frozen=True, kw_only=True):
    """The options of a schedule; every value was checked.

    `name` is what it is known by (its work's id, unless told), `owner` who declares it. Times count from `start` on,
    or from when it is made, until `end`, both included, and for `max_runs` tasks. `jitter` lets each start later by a
    part of it that is the schedule's own, before the next time. `catchup` says which of the times run that passed
    more than `misfire` ago while no node looked; none does that passed more than `window` ago. Of all at most
    `catchup_max` do, the latest, and `rate` is how many tasks a second catching up makes. `overlap` is what becomes of
    a time at which an earlier run is not over. After `failures_max` failed runs in a row it is paused.
    """

    name: str | None = None
    owner: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    max_runs: int | None = None
    jitter: timedelta = timedelta(0)
    catchup: CatchupName = "one"
    window: timedelta = timedelta(days=1)
    misfire: timedelta = timedelta(minutes=1)
    catchup_max: int | None = None
    rate: float | None = None
    overlap: OverlapName = "queue_one"
    failures_max: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is not allowed. Raises OptionError."""
        for what in ("name", "owner"):
            _check_text(what, getattr(self, what))
        for what in ("start", "end"):
            _check_instant(what, getattr(self, what))
        for what in ("jitter", "window", "misfire"):
            _check_span(what, getattr(self, what))
        _check_choice("catchup", self.catchup, get_args(CatchupName))
        _check_choice("overlap", self.overlap, get_args(OverlapName))
        _check_number("max_runs", self.max_runs, int, RUNS_MAX)
        _check_number("catchup_max", self.catchup_max, int, CATCHUP_MAX)
        _check_number("failures_max", self.failures_max, int, RUNS_MAX)
        _check_number("rate", self.rate, (int, float), RATE_MAX)
        if self.start is not None and self.end is not None and self.end < self.start:
            raise OptionError(f"end={self.end.isoformat()} is before start={self.start.isoformat()}")


def _check_text(what: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and 1 <= len(value) <= NAME_MAX and value.isprintable()):
        raise OptionError(f"{what}={value!r}: use 1 to {NAME_MAX} printable characters")


def _check_instant(what: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, datetime) or value.utcoffset() is None or value.year not in YEARS:
        raise OptionError(f"{what}={value!r}: use an aware datetime of the years 1970 to 8999")


def _check_span(what: str, value: Any) -> None:
    if not isinstance(value, timedelta) or not timedelta(0) <= value <= SPAN_MAX:
        raise OptionError(f"{what}={value!r}: use a timedelta from 0 to 10 years")


def _check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{what}={value!r}: use one of {', '.join(choices)}")


def _check_number(what: str, value: Any, kind: Any, most: float) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind) or not 0 < value <= most):
        bound = f" and up to {most:,.0f}" if most < RUNS_MAX else ""
        raise OptionError(f"{what}={value!r}: use a number above 0{bound}, or None")
