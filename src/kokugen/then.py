"""What follows the end of a task. Rides on the work, as the option `then`; `kokugen.chaining` makes the tasks of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from msgspec import Struct

from kokugen.errors import OptionError

After = Literal["success", "failure", "always"]

CHAIN_MAX = 20
"""How many tasks one chain has at most, the first among them."""
ON_DONE, ON_FAILED = 1, 2
AFTER: Mapping[After, int] = {"success": ON_DONE, "failure": ON_FAILED, "always": ON_DONE | ON_FAILED}
"""After which ends a task follows, as bits. None follows one that was cancelled."""
DELAY_MAX = timedelta(days=3650)


class Then(Struct, frozen=True):
    """A task that follows another: stored with it, on hold until that ends, and due `delay` after that.

    `work` is work, with its options, or the id of one. It is called with `args` and `kwargs`, and, where `result` names
    a parameter, with the result of the task before: None where that failed, or returned nothing. Where the task before
    ends otherwise than `on` says, or is cancelled, this one is Cancelled. What is to follow this one is said by the
    option `then` of its own work. Raises OptionError for a value that is not allowed.
    """

    work: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    on: After = "success"
    result: str | None = None
    delay: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.on not in AFTER:
            raise OptionError(f"on={self.on!r}: use {', '.join(map(repr, AFTER))}")
        if not isinstance(self.args, tuple | list) or not isinstance(self.kwargs, dict):
            raise OptionError(
                "Then(work, args=(…), kwargs={…}): give positional arguments as a tuple, others as a dict"
            )
        if self.result is not None and (not isinstance(self.result, str) or not self.result.isidentifier()):
            raise OptionError(f"result={self.result!r}: name the parameter that is given the result")
        if self.result in self.kwargs:
            raise OptionError(f"result={self.result!r} is given in kwargs too: leave it out there")
        if not isinstance(self.delay, timedelta) or not timedelta(0) <= self.delay <= DELAY_MAX:
            raise OptionError(f"delay={self.delay!r}: use a timedelta from zero to {DELAY_MAX.days:,} days")
