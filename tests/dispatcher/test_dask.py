"""A Dask cluster keeps the contract of a dispatcher, and what it has of a lost run is found again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

if sys.version_info >= (3, 15):  # elsewhere it is in the locked set, and its absence is a failure
    pytest.importorskip("distributed")

from kokugen.clock import Clock
from kokugen.dispatcher.dask import DaskDispatcher, DaskWorkers
from kokugen.dispatcher.protocol import Ending
from kokugen.errors import OptionError, WorkerDiedError
from kokugen.run import Interrupt, NotCalled
from kokugen.testing import DispatcherSuite
from kokugen.testing.dispatching import works
from kokugen.testing.dispatching.lab import DispatchLab
from tests.dispatcher.killed_node import check_that_a_killed_nodes_run_is_taken_over
from tests.servers.dask_cluster import dask_cluster

TRIES = 3000


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with dask_cluster() as address:
        yield address


class TestDask(DispatcherSuite):
    tells_stopping: ClassVar[bool] = False
    tells_progress: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _on(self, cluster: str) -> None:
        self.cluster = cluster

    def dispatcher(self, workers: int, clock: Clock) -> DaskDispatcher:
        return DaskWorkers(cluster=self.cluster, workers=workers).dispatcher(clock=clock)


@pytest.fixture
def lab(cluster: str, tmp_path: Path) -> Iterator[DispatchLab]:
    place = DaskWorkers(cluster=cluster)
    lab = DispatchLab(lambda workers, clock: place.dispatcher(clock=clock), is_async=False, folder=tmp_path)
    yield lab
    lab.close()


def test_a_run_that_lives_on_is_taken_over_and_not_run_again(lab: DispatchLab) -> None:
    first = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=7)
    lab.started().dispatch([first])
    lab.await_file("running-7")
    second = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=9, lost=2)
    lab.started().dispatch([second])
    (lab.folder / "enough").touch()
    assert {outcome.result for outcome in lab.outcomes.take(2)} == {'"fence 7"'}
    assert not (lab.folder / "running-9").exists()


def test_a_lost_run_that_ended_meanwhile_has_its_result_found(lab: DispatchLab) -> None:
    (lab.folder / "enough").touch()
    first = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=7)
    assert lab.sent(lab.started(), first)[0].result == '"fence 7"'
    second = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=8, lost=1)
    assert lab.sent(lab.started(), second)[0].result == '"fence 7"'


def test_an_attempt_that_is_no_lost_one_runs_anew(lab: DispatchLab) -> None:
    (lab.folder / "enough").touch()
    first = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=7)
    retry = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=8, lost=1, attempt=2)
    assert [one.result for one in lab.sent(lab.started(), first, retry)] == ['"fence 7"', '"fence 8"']


def test_a_run_that_made_room_elsewhere_is_run_anew(lab: DispatchLab) -> None:
    first = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=7)
    lab.started().dispatch([first])
    lab.await_file("running-7")
    second = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=8, lost=1)
    lab.started().dispatch([second])
    first.ask_to_stop(Interrupt.LEASE_LOST)
    lab.await_file("running-8")
    (lab.folder / "enough").touch()
    told = {outcome.run: outcome.result for outcome in lab.outcomes.take(2)}
    assert told == {first: '"stopped"', second: '"fence 8"'}


def test_where_no_cluster_is_reached_a_run_is_put_off_and_no_attempt_is_used_up(tmp_path: Path) -> None:
    def unreachable() -> Any:
        raise OSError("no route")

    place = DaskWorkers(cluster=unreachable)
    lab = DispatchLab(lambda workers, clock: place.dispatcher(clock=clock), is_async=False, folder=tmp_path)
    (outcome,) = lab.sent(lab.started(), lab.run(works.nothing))
    lab.close()
    assert outcome.ending is Ending.SNOOZED
    assert isinstance(outcome.error, NotCalled)
    assert "no route" in (outcome.text or "")


@pytest.mark.parametrize("about", [{"cluster": 7}, {"workers": -1}, {"scope": "a b"}, {"name": "threads"}], ids=str)
def test_senseless_options_of_dask_are_refused(about: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        DaskWorkers(**{"cluster": "tcp://localhost:1", **about})


def test_the_run_of_a_killed_node_is_taken_over_and_not_run_again(cluster: str, tmp_path: Path) -> None:
    check_that_a_killed_nodes_run_is_taken_over("dask", cluster, tmp_path)


def test_work_that_ends_its_worker_fails_and_is_not_run_again(lab: DispatchLab) -> None:
    died = lab.run(works.die, "exit")
    (outcome,) = lab.sent(lab.started(), died)
    assert outcome.ending is Ending.RAISED
    assert isinstance(outcome.error, WorkerDiedError)
    assert lab.sent(lab.started(), lab.run(works.echo, "after"))[0].result == '"after"'
