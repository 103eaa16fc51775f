"""The contract of a dispatcher as tests, for anyone who writes one: subclass it, say how to make yours, run pytest.

    class TestMine(DispatcherSuite):
        def dispatcher(self, workers, clock):
            return MyDispatcher(workers, clock=clock)

The work that the cases run is in `dispatching.works`: what runs it must be able to import that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from kokugen.clock import Clock
from kokugen.dispatcher.protocol import Dispatcher, Ending
from kokugen.testing.dispatching.crossing import CrossingCases
from kokugen.testing.dispatching.lab import DispatchLab
from kokugen.testing.dispatching.starting import StartingCases
from kokugen.testing.dispatching.stopping import StoppingCases


class DispatcherSuite(StartingCases, CrossingCases, StoppingCases):
    """What every `Dispatcher` promises. A subclass whose name begins with `Test` runs it."""

    is_async: ClassVar[bool] = False
    """Whether it runs async work; else it runs sync work."""
    obeyed: ClassVar[Ending] = Ending.RETURNED
    """How work ends that waits for `current_run().cancelled`, once it was asked to stop."""
    forces: ClassVar[bool] = False
    """Whether work that does not obey is ended by force."""
    isolates: ClassVar[bool] = False
    """Whether work that ends its process ends its own run alone."""
    tells_stopping: ClassVar[bool] = True
    """Whether work hears by `current_run().stopping` that the scheduler stops."""
    tells_progress: ClassVar[bool] = True
    """Whether the node hears what work says by `current_run().progress`."""

    def dispatcher(self, workers: int, clock: Clock) -> Dispatcher:
        """Return a new dispatcher for so many runs at once, not started."""
        raise NotImplementedError("say how to make your dispatcher: def dispatcher(self, workers, clock)")

    @pytest.fixture
    def lab(self, tmp_path: Path) -> Iterator[DispatchLab]:
        """Yield a laboratory for the dispatcher under test."""
        lab = DispatchLab(self.dispatcher, is_async=self.is_async, folder=tmp_path)
        yield lab
        lab.close()
