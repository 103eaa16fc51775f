"""Times as bits, one for each second of a day: how combined triggers count and search where there are very many.

Two triggers with a time each second have all of a year in common, or nothing: walking them takes minutes, and this
some milliseconds. It is for triggers whose times are whole seconds (`Trigger.is_whole`).
"""

from __future__ import annotations

from collections.abc import Callable

from kokugen.clock import SECOND_US
from kokugen.recurrence.bits import highest, lowest
from kokugen.recurrence.trigger import MAX_US, MIN_US, YEARS_MAX, Trigger

WINDOW_S = 86_400
SEARCH_S = YEARS_MAX * 366 * WINDOW_S
Jump = Callable[[int], int | None]
"""Tells from where on, in microseconds, there can be a time at all."""


def count_masked(trigger: Trigger, start_us: int, end_us: int) -> int:
    """Return how many times there are from `start_us` on, before `end_us`."""
    start, end = -(-start_us // SECOND_US), -(-end_us // SECOND_US)
    windows = range(start, end, WINDOW_S)
    return sum(trigger.mask(low, min(WINDOW_S, end - low)).bit_count() for low in windows)


def next_masked(trigger: Trigger, after_us: int, jump: Jump) -> int | None:
    """Return the first time later than an instant, within 40 years."""
    possible = jump(after_us)
    if possible is None:
        return None
    start = possible // SECOND_US
    limit = min(start + SEARCH_S, MAX_US // SECOND_US)
    while start < limit:
        mask = trigger.mask(start, WINDOW_S)
        if mask:
            return (start + lowest(mask)) * SECOND_US
        possible = jump((start + WINDOW_S) * SECOND_US - 1)
        if possible is None:
            return None
        start = possible // SECOND_US
    return None


def prev_masked(trigger: Trigger, before_us: int, jump: Jump) -> int | None:
    """Return the last time earlier than an instant, within 40 years."""
    possible = jump(before_us)
    if possible is None:
        return None
    end = possible // SECOND_US + 1
    limit = max(end - SEARCH_S, MIN_US // SECOND_US)
    while end > limit:
        mask = trigger.mask(end - WINDOW_S, WINDOW_S)
        if mask:
            return (end - WINDOW_S + highest(mask)) * SECOND_US
        possible = jump((end - WINDOW_S) * SECOND_US)
        if possible is None:
            return None
        end = possible // SECOND_US + 1
    return None
