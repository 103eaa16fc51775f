"""A place where work can run, as a scheduler is told of it: `Scheduler(url, places=[Processes(4)])`.

A place is plain configuration. The runner has it make a dispatcher when the scheduler starts; a task says with
`options(on="…")` that it is to run there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from kokugen.clock import Clock
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.middleware.base import Middleware


@runtime_checkable
class Place(Protocol):
    """What a node can offer besides its threads and its event loop."""

    @property
    def name(self) -> str:
        """Return what tasks call it: `on="…"`."""
        ...

    def dispatcher(self, *, clock: Clock, middleware: Sequence[Middleware]) -> Dispatcher:
        """Return a new dispatcher of this name."""
        ...
