"""The only source of chance: task ids, nonces of claims, node ids, and the random numbers that others get.

`system_random()` is seeded by the operating system; a test hands `IdSource` a seeded one and gets the same
ids again.
"""

from __future__ import annotations

import os
import random
import sys
import weakref
from functools import cache
from hashlib import blake2b
from threading import Lock

from kokugen.clock import Clock

_UUID = "%08x-%04x-%04x-%04x-%012x"


def system_random() -> random.Random:
    """Return a fresh generator, seeded by the operating system."""
    return random.Random()  # noqa: S311 - ids and jitter are no secrets


def occurrence_id(schedule_id: str, nominal_us: int) -> str:
    """Return the id of the task of an occurrence: a UUIDv8 (RFC 9562) that follows from both, on every node.

    It begins with the milliseconds of the nominal time, as the ids of other tasks do with theirs.
    """
    digest = blake2b(f"{schedule_id} {nominal_us}".encode(), digest_size=10).digest()
    tail = int.from_bytes(digest)
    stamp = nominal_us // 1000 & 0xFFFF_FFFF_FFFF
    return _UUID % (
        stamp >> 16,
        stamp & 0xFFFF,
        0x8000 | tail >> 68 & 0xFFF,
        0x8000 | tail >> 54 & 0x3FFF,
        tail & 0xFFFF_FFFF_FFFF,
    )


class IdSource:
    """Makes ids; any thread may ask. A forked child goes on with chance of its own, and so repeats none."""

    __slots__ = ("__weakref__", "_bits", "_last", "_lock", "_random", "_wall_us")

    def __init__(self, clock: Clock, random: random.Random) -> None:
        self._wall_us = clock.wall_us
        self._random = random
        self._bits = random.getrandbits
        self._lock = Lock()
        self._last = 0
        _when_forked(self)

    def task_id(self) -> str:
        """Return a new UUIDv7 (RFC 9562) as text, greater than every one before it from this source.

        The 12 bits behind the milliseconds are the fraction of the millisecond (method 3 of section 6.2).
        While the clock stands still or is set back, the ids count on from the last one.
        """
        chance = self._bits(62)
        now = (self._wall_us() << 12) // 1000
        with self._lock:
            self._last = stamp = now if now > self._last else self._last + 1
        return _UUID % (
            stamp >> 28,
            stamp >> 12 & 0xFFFF,
            0x7000 | stamp & 0xFFF,
            0x8000 | chance >> 48,
            chance & 0xFFFF_FFFF_FFFF,
        )

    def nonce(self) -> str:
        """Return 32 random hexadecimal digits: the key of a claim, never used twice."""
        return f"{self._bits(128):032x}"

    def node_id(self) -> str:
        """Return a random UUID (version 4) as text: one start of one process."""
        bits = self._bits
        return _UUID % (bits(32), bits(16), 0x4000 | bits(12), 0x8000 | bits(14), bits(48))

    def reseed(self) -> None:
        """Take new chance from the operating system, and a lock that no thread of the parent holds."""
        self._lock = Lock()
        self._random.seed()


_sources: weakref.WeakSet[IdSource] = weakref.WeakSet()
"""Those that are alive: Python never forgets what is registered for a fork, so that is one function for all of them."""


def _when_forked(source: IdSource) -> None:
    """Reseed `source` in every child process, for as long as it lives."""
    if sys.platform == "win32":
        return
    _register_once()
    _sources.add(source)


@cache
def _register_once() -> None:
    os.register_at_fork(after_in_child=_reseed_all)


def _reseed_all() -> None:
    for source in tuple(_sources):
        source.reseed()
