"""A bound on the steps that something takes: lines of Python, which are the same on a busy machine, unlike time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class TooManyStepsError(AssertionError):
    """It went on and on."""


def within_steps(steps_max: int, ask: Callable[[], T]) -> T:
    """Return what a call returns. Raises TooManyStepsError once it has taken more than so many steps."""
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        if steps > steps_max:
            raise TooManyStepsError(f"more than {steps_max:,} lines of Python, in {frame.f_code.co_qualname}")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return ask()
    finally:
        sys.settrace(before)
