"""What tests of kokugen, of code that uses it, and of parts written for it need: a part on its own, with pytest.

`RepositorySuite` is the contract of a repository as tests, `DispatcherSuite` that of a dispatcher; `ManualClock` is a
clock that stands still. `run_virtual` runs code in virtual time, where a month passes in a moment; `VirtualScheduler`
is a scheduler there, and `InlineDispatcher` runs its work without threads. `FaultyRepository` is a store that refuses
calls, or does not answer them.
"""

from __future__ import annotations

try:
    import pytest
except ModuleNotFoundError:
    _MISSING = "kokugen.testing needs pytest, and it is not installed here: python -m pip install pytest"
    raise ModuleNotFoundError(_MISSING, name="pytest") from None

pytest.register_assert_rewrite("kokugen.testing.suite", "kokugen.testing.dispatching")

from kokugen.testing.clock import ManualClock  # noqa: E402 - asserts are rewritten from here on
from kokugen.testing.dispatcher_suite import DispatcherSuite  # noqa: E402
from kokugen.testing.faulty_repository import Fault, FaultyRepository, RandomFaults  # noqa: E402
from kokugen.testing.inline_dispatcher import InlineDispatcher  # noqa: E402
from kokugen.testing.repository_suite import RepositorySuite  # noqa: E402
from kokugen.testing.virtual_scheduler import VirtualScheduler  # noqa: E402
from kokugen.testing.virtual_time import VirtualClock, VirtualTimeLoop, run_virtual  # noqa: E402

__all__ = [
    "DispatcherSuite",
    "Fault",
    "FaultyRepository",
    "InlineDispatcher",
    "ManualClock",
    "RandomFaults",
    "RepositorySuite",
    "VirtualClock",
    "VirtualScheduler",
    "VirtualTimeLoop",
    "run_virtual",
]
