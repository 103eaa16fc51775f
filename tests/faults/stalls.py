"""Whether the machine itself stood still: a thread that wants to run twenty times a second, and is kept from it."""

from __future__ import annotations

import threading
from threading import Thread
from typing import Self

from kokugen.clock import SECOND_US
from tests.faults.account import PROMPT_US, Trouble
from tests.faults.crew import wall_us

LOOK_S = 0.05
STALL_US = SECOND_US // 4
"""A thread that is so late had no processor: what was due meanwhile is not late by its scheduler's fault."""


class StallWatch:
    """Between enter and exit it notes when the machine ran nothing, or not this process."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []
        self._over = threading.Event()
        self._thread = Thread(target=self._watch, name="stall watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def note(self, before_us: int, after_us: int) -> None:
        """Take in that it looked at these two times, and not between them."""
        if after_us - before_us > STALL_US:
            self.troubles.append(Trouble(before_us, after_us + PROMPT_US))

    def _watch(self) -> None:
        before_us = wall_us()
        while not self._over.wait(LOOK_S):
            self.note(before_us, before_us := wall_us())
