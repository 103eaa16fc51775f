"""When a time zone's offset from UTC changes: a table made by asking the zone, as far as it has been needed.

The standard library tells a zone's offset at an instant, but not until when it holds. Here instants, local times
("walls") and offsets are whole seconds since 1970-01-01 00:00, UTC or local; `wall = instant + offset`.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

from kokugen.clock import EPOCH

DAY_S = 86_400
CHUNK_S = 400 * DAY_S
STEP_S = 3 * DAY_S
"""How often a zone is looked at. Since 1970 none has changed its clocks twice within six days, which a test watches."""
FAR_S = 250 * CHUNK_S
"""Farther than this from what is known, the table begins anew, so that it stays small."""
FIRST_S = -CHUNK_S
LAST_S = 221_845_392_000 + CHUNK_S
"""The table covers what a trigger knows, the years 1970 to 8999, and a little on both sides."""


class Span(NamedTuple):
    """A time of one offset: instants from `start` on, before `end`; and the offset before it, where that is known."""

    start: int
    end: int
    offset: int
    before: int
    after: int


class _Known(NamedTuple):
    """Where the offset changes, and to what, between two instants."""

    low: int
    high: int
    starts: list[int]
    offsets: list[int]


class OffsetTable:
    """The spans of one zone. It grows by about a year at a time, which takes a fraction of a millisecond."""

    __slots__ = ("_known", "_lock", "_zone")

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._lock = Lock()
        self._known: _Known | None = None

    def span(self, instant: int) -> Span:
        """Return the span of an instant. One that reaches farther than 400 days may be cut, with equal offsets around.

        Changes within 400 days of the instant, on both sides, are never missed.
        """
        known = self._known
        if known is None or not known.low + CHUNK_S <= instant < known.high - CHUNK_S:
            known = self._grown(instant)
        starts, offsets = known.starts, known.offsets
        at = bisect_right(starts, instant) - 1
        is_last = at + 1 == len(starts)
        return Span(
            starts[at],
            known.high if is_last else starts[at + 1],
            offsets[at],
            offsets[max(at - 1, 0)],
            offsets[at if is_last else at + 1],
        )

    def _grown(self, instant: int) -> _Known:
        with self._lock:
            low = max(instant - CHUNK_S, FIRST_S)
            high = min(instant + 2 * CHUNK_S, LAST_S)
            known = self._known
            if known is None or low > known.high + FAR_S or high < known.low - FAR_S:
                known = _Known(low, low, [low], [self._offset(low)])
            if low < known.low:
                known = self._extended_down(known, low)
            if high > known.high:
                known = self._extended_up(known, high)
            self._known = known
            return known

    def _extended_up(self, known: _Known, high: int) -> _Known:
        starts, offsets = self._changes(known.high, high, known.offsets[-1])
        return _Known(known.low, high, known.starts + starts, known.offsets + offsets)

    def _extended_down(self, known: _Known, low: int) -> _Known:
        first = self._offset(low)
        starts, offsets = self._changes(low, known.low, first)
        return _Known(low, known.high, [low, *starts, *known.starts[1:]], [first, *offsets, *known.offsets[1:]])

    def _changes(self, low: int, high: int, offset: int) -> tuple[list[int], list[int]]:
        """Return the changes after `low` up to `high`."""
        starts, offsets = [], []
        for begin in range(low, high, STEP_S):
            end = min(begin + STEP_S, high)
            new = self._offset(end)
            if new != offset:
                starts.append(self._change(begin, end, new))
                offsets.append(new)
                offset = new
        return starts, offsets

    def _change(self, low: int, high: int, new: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == new:
                high = middle
            else:
                low = middle
        return high

    def _offset(self, instant: int) -> int:
        offset = (EPOCH + timedelta(seconds=instant)).astimezone(self._zone).utcoffset()
        assert offset is not None
        return offset.days * DAY_S + offset.seconds


class FixedOffset(OffsetTable):
    """A zone whose offset never changes."""

    __slots__ = ("_span",)

    def __init__(self, zone: tzinfo) -> None:
        super().__init__(zone)
        offset = self._offset(0)
        self._span = Span(FIRST_S, LAST_S, offset, offset, offset)

    def span(self, instant: int) -> Span:  # noqa: ARG002
        return self._span


@lru_cache(maxsize=1024)
def offset_table(zone: tzinfo) -> OffsetTable:
    """Return the table of a zone, the same one each time."""
    is_fixed = zone is UTC or isinstance(zone, timezone) or getattr(zone, "key", None) == "UTC"
    return FixedOffset(zone) if is_fixed else OffsetTable(zone)
