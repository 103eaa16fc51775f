"""The contract of a repository as tests, for anyone who writes one: subclass it, say how to make yours, run pytest.

    class TestMine(RepositorySuite):
        def repository(self, clock, folder, namespace):
            return MyRepository(folder / "tasks.mine", namespace=namespace, clock=clock)

The cases are in `suite`, a file for each group of verbs. They compare with what was asked, never with what the
repository says elsewhere, and look at the whole task before and after a call that is to change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from kokugen.clock import Clock
from kokugen.repository.protocol import DurableRepository, LimitRepository, ScheduleRepository
from kokugen.testing.clock import ManualClock
from kokugen.testing.suite.accounting import AccountingCases
from kokugen.testing.suite.adding import AddingCases
from kokugen.testing.suite.ageing import AgeingCases
from kokugen.testing.suite.apart import ApartCases, OtherProcess, root_of
from kokugen.testing.suite.cancelling import CancellingCases
from kokugen.testing.suite.chaining import ChainingCases
from kokugen.testing.suite.choosing import ChoosingCases
from kokugen.testing.suite.claiming import ClaimingCases
from kokugen.testing.suite.finishing import FinishingCases
from kokugen.testing.suite.hearing import HearingCases
from kokugen.testing.suite.keeping import KeepingCases
from kokugen.testing.suite.lab import Lab
from kokugen.testing.suite.limiting import LimitingCases, LimitLab
from kokugen.testing.suite.limits_beside import LimitsBesideCases
from kokugen.testing.suite.marking import MarkingCases
from kokugen.testing.suite.operating import OperatingCases
from kokugen.testing.suite.overlapping import OverlappingCases
from kokugen.testing.suite.querying import QueryingCases
from kokugen.testing.suite.replacing import ReplacingCases
from kokugen.testing.suite.revising import RevisingCases
from kokugen.testing.suite.schedule_lab import ScheduleLab
from kokugen.testing.suite.scheduling import SchedulingCases
from kokugen.testing.suite.seeding import SeedingCases
from kokugen.testing.suite.sharing import SharingCases


class RepositorySuite(
    AddingCases,
    ClaimingCases,
    AgeingCases,
    ChoosingCases,
    FinishingCases,
    KeepingCases,
    CancellingCases,
    RevisingCases,
    QueryingCases,
    OperatingCases,
    SeedingCases,
    MarkingCases,
    SharingCases,
    ApartCases,
    ChainingCases,
    SchedulingCases,
    AccountingCases,
    OverlappingCases,
    HearingCases,
    LimitingCases,
    LimitsBesideCases,
    ReplacingCases,
):
    """What every `DurableRepository` promises. A subclass whose name begins with `Test` runs it."""

    keeps: ClassVar[bool] = True
    """Whether a second instance on the same folder has the same tasks, in any process; False skips cases of that."""

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        """Return a new repository, not yet open, on the store in `folder`: the same store for the same folder.

        Cases of two processes call it in the other one too, on a copy of this object.
        """
        raise NotImplementedError("say how to make your repository: def repository(self, clock, folder, namespace)")

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock of the case, which stands still."""
        return ManualClock()

    @pytest.fixture
    def lab(self, clock: ManualClock, tmp_path: Path) -> Iterator[Lab]:
        """Yield a bench with an empty, open repository; whatever was opened is closed afterwards."""
        opened: list[DurableRepository] = []

        def open_store(namespace: str) -> DurableRepository:
            repository = self.repository(clock, tmp_path, namespace)
            repository.open()
            opened.append(repository)
            return repository

        yield Lab(clock, open_store)
        for repository in opened:
            repository.close()

    @pytest.fixture
    def plans(self, lab: Lab) -> ScheduleLab:
        """Return the bench for schedules, which are an ability of their own."""
        if not isinstance(lab.repo, ScheduleRepository):
            pytest.skip("this repository keeps no schedules")
        return ScheduleLab(lab, lab.repo)

    @pytest.fixture
    def gated(self, clock: ManualClock, lab: Lab) -> LimitLab:
        """Return the bench for limits, which are an ability of their own."""
        if not isinstance(lab.repo, LimitRepository):
            pytest.skip("this repository keeps no limits")
        bench = LimitLab(clock, lambda name: lab.repo if name == "default" else lab.open_store(name))
        bench.open_store = lab.open_store
        return bench

    @pytest.fixture
    def kept(self, lab: Lab) -> Lab:
        """Return the bench, for cases about what outlives an instance."""
        if not self.keeps:
            pytest.skip("keeps = False: nothing outlives an instance of this repository")
        return lab

    @pytest.fixture
    def other(self, kept: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherProcess]:
        """Yield a bench in another process, on the same store."""
        monkeypatch.syspath_prepend(root_of(self))
        process = OtherProcess(self, kept.clock, tmp_path)
        yield process
        process.close()

    @pytest.fixture
    def gated_kept(self, gated: LimitLab, kept: Lab) -> LimitLab:
        """Return the bench for limits, for cases with several instances."""
        assert kept.clock is gated.clock
        return gated
