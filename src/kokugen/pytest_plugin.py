"""Fixtures for tests of code that schedules. pytest finds this by itself where kokugen is installed.

It imports nothing of kokugen until a fixture is asked for: other tests of the project pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kokugen.registry.functions import FunctionRegistry
    from kokugen.scheduler import Scheduler
    from kokugen.testing import Recorder, Stage, StageClock


@pytest.fixture
def kokugen_stage() -> Iterator[Stage]:
    """Virtual time and a store in memory: `kokugen_stage.take(scheduler)` puts a scheduler of the application there."""
    from kokugen.testing import Stage

    with Stage() as stage:
        yield stage


@pytest.fixture
def kokugen_clock(kokugen_stage: Stage) -> StageClock:
    """The clock of the stage: `kokugen_clock.advance(days=30)` runs what is due until then."""
    return kokugen_stage.clock


@pytest.fixture
def kokugen_works() -> FunctionRegistry:
    """The works of `kokugen_scheduler`: none. Override this fixture with those of the application."""
    from kokugen.registry.functions import FunctionRegistry

    return FunctionRegistry()


@pytest.fixture
def kokugen_scheduler(kokugen_stage: Stage, kokugen_works: FunctionRegistry) -> Scheduler:
    """A scheduler on the stage, with `kokugen_works`. Override it to put the application's there."""
    from kokugen.scheduler import Scheduler

    return kokugen_stage.take(Scheduler("memory://", works=kokugen_works))


@pytest.fixture
def kokugen_inline(kokugen_stage: Stage) -> Stage:
    """The stage in inline mode: what is due runs before the call that schedules it returns, and raises there."""
    kokugen_stage.inline = True
    return kokugen_stage


@pytest.fixture
def kokugen_recorder(kokugen_stage: Stage) -> Recorder:
    """A record of what would have run: while a test has it no work is called."""
    from kokugen.testing import Recorder

    kokugen_stage.recorder = Recorder()
    return kokugen_stage.recorder
