"""What the times of a rule about local time are, found by looking at the clock minute by minute.

It shares nothing with what it judges but the zone's rules, and is far too slow for anything else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

MINUTE = timedelta(minutes=1)
Matches = Callable[[datetime], bool]


class Window:
    """The minutes of a time around a change of a zone's clocks: what the clock showed at each."""

    def __init__(self, zone: tzinfo, start: datetime, minutes: int) -> None:
        self.start = start
        self.end = start + minutes * MINUTE
        self._shown: list[tuple[datetime, datetime]] = []
        self._instants: dict[datetime, list[datetime]] = defaultdict(list)
        for number in range(minutes):
            instant = start + number * MINUTE
            wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
            self._shown.append((instant, wall))
            self._instants[wall].append(instant)
        self.gaps = self._find_gaps()
        self.folds = [wall for wall, instants in self._instants.items() if len(instants) > 1]

    def _find_gaps(self) -> list[tuple[datetime, datetime]]:
        """Return the local minutes that were left out, each with the first instant after them."""
        found = []
        for (_, before), (instant, after) in zip(self._shown, self._shown[1:], strict=False):
            wall = before + MINUTE
            while wall < after:
                if wall not in self._instants:
                    found.append((wall, instant))
                wall += MINUTE
        return found

    def by_real_time(self, matches: Matches) -> list[datetime]:
        """Return every minute at which the clock showed a time of the rule."""
        return [instant for instant, wall in self._shown if matches(wall)]

    def by_wall(self, matches: Matches, gap: str, fold: str) -> list[datetime]:
        """Return when each local time of the rule comes, by the policy."""
        found = {instant for wall, instant in self.gaps if gap == "after" and matches(wall)}
        for wall, instants in self._instants.items():
            if matches(wall):
                found.update({"first": instants[:1], "second": instants[-1:], "both": instants}[fold])
        return sorted(found)


def changes(zone: tzinfo, first: int, last: int) -> list[tuple[datetime, timedelta]]:
    """Return when a zone's clocks changed in these years, and by how much, looking at every hour."""
    found = []
    instant, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    offset = offset_at(instant, zone)
    while instant < end:
        later = instant + timedelta(hours=24)
        if offset_at(later, zone) != offset:
            at = _exactly(zone, instant, later)
            found.append((at, offset_at(at, zone) - offset))
            offset = offset_at(later, zone)
        instant = later
    return found


def offset_at(instant: datetime, zone: tzinfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _exactly(zone: tzinfo, low: datetime, high: datetime) -> datetime:
    offset = offset_at(low, zone)
    while offset_at(low, zone) == offset:
        low += timedelta(hours=1)
    low -= timedelta(hours=1)
    while offset_at(low, zone) == offset:
        low += MINUTE
    assert low <= high
    return low
