"""Sets of small numbers as bits of an integer: how a pattern is searched in a few steps."""

from __future__ import annotations

from collections.abc import Iterable


def lowest(mask: int) -> int:
    """Return the number of the lowest bit that is set."""
    return (mask & -mask).bit_length() - 1


def highest(mask: int) -> int:
    """Return the number of the highest bit that is set."""
    return mask.bit_length() - 1


def bits(values: Iterable[int]) -> int:
    """Return a mask with these bits set."""
    mask = 0
    for value in values:
        mask |= 1 << value
    return mask


def repeated(first: int, period: int, width: int) -> int:
    """Return a mask with every `period`th of `width` bits set, from the `first` on."""
    wanted = (width - first + period - 1) // period if first < width else 0
    mask, count = 1, 1
    while count < wanted:
        mask |= mask << (period * count)
        count *= 2
    return (mask << first) & ((1 << width) - 1) if wanted > 0 else 0


def ones(low: int, high: int) -> int:
    """Return a mask with the bits from `low` on set, before `high`."""
    return ((1 << (high - low)) - 1) << low if low < high else 0
