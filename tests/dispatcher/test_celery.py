"""A Celery worker keeps the contract of a dispatcher, and what Celery has of a lost run is found again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

if sys.version_info >= (3, 15):  # elsewhere it is in the locked set, and its absence is a failure
    pytest.importorskip("celery")

from celery import states

from kokugen.clock import Clock
from kokugen.dispatcher.celery import CeleryDispatcher, CeleryWorkers
from kokugen.dispatcher.celery_worker import DROPPED, SENT, TASK
from kokugen.dispatcher.engines import key_of
from kokugen.dispatcher.protocol import Ending
from kokugen.errors import OptionError, WorkerDiedError
from kokugen.run import Interrupt, NotCalled
from kokugen.testing import DispatcherSuite
from kokugen.testing.dispatching import works
from kokugen.testing.dispatching.lab import DispatchLab
from tests.dispatcher.killed_node import check_that_a_killed_nodes_run_is_taken_over
from tests.servers.celery_worker import app_of, celery_worker
from tests.servers.fixtures import missing
from tests.servers.postgres import MissingServer
from tests.servers.valkey import URL_VARIABLE, url_of, valkey

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # Celery's own calls of redis


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    try:
        with valkey() as socket:
            yield url_of(socket)
    except MissingServer as error:
        missing(error)


@pytest.fixture(scope="module")
def broker(server: str) -> Iterator[str]:
    with celery_worker(server):
        yield server


class TestCelery(DispatcherSuite):
    obeyed: ClassVar[Ending] = Ending.INTERRUPTED
    forces: ClassVar[bool] = True
    isolates: ClassVar[bool] = True
    tells_stopping: ClassVar[bool] = False
    tells_progress: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _on(self, broker: str) -> None:
        self.broker = broker

    def dispatcher(self, workers: int, clock: Clock) -> CeleryDispatcher:
        return CeleryWorkers(app=app_of(self.broker), workers=workers).dispatcher(clock=clock)


@pytest.fixture
def lab(broker: str, tmp_path: Path) -> Iterator[DispatchLab]:
    place = CeleryWorkers(app=app_of(broker))
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


def test_an_attempt_that_is_no_lost_one_runs_anew(lab: DispatchLab) -> None:
    (lab.folder / "enough").touch()
    first = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=7)
    retry = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=8, lost=1, attempt=2)
    assert [one.result for one in lab.sent(lab.started(), first, retry)] == ['"fence 7"', '"fence 8"']


def test_a_run_that_was_stopped_elsewhere_is_run_anew(lab: DispatchLab) -> None:
    first = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=7)
    lab.started().dispatch([first])
    lab.await_file("running-7")
    second = lab.run(works.go_until, str(lab.folder), task_id=lab.folder.name, fence=8, lost=1)
    lab.started().dispatch([second])
    first.ask_to_stop(Interrupt.LEASE_LOST)
    lab.await_file("running-8")
    (lab.folder / "enough").touch()
    told = {outcome.run: outcome for outcome in lab.outcomes.take(2)}
    assert told[first].ending is Ending.INTERRUPTED
    assert told[second].result == '"fence 8"'


def test_a_message_that_comes_twice_or_too_late_is_not_run(lab: DispatchLab, broker: str) -> None:
    app, run = app_of(broker), lab.run(works.echo, "once")
    (outcome,) = lab.sent(lab.started(), run)
    key = str(key_of(run, "kokugen").uuid)
    before = app.backend.get_task_meta(key)
    app.send_task(TASK, ("nonsense",), task_id=key)
    app.backend.store_result("late", None, DROPPED)
    app.send_task(TASK, ("nonsense",), task_id="late")
    assert lab.sent(lab.started(), lab.run(works.nothing))[0].ending is Ending.RETURNED
    assert outcome.result == '"once"'
    assert app.backend.get_task_meta(key, cache=False) == before
    assert app.backend.get_state("late") == DROPPED


def test_work_that_the_worker_does_not_know_fails_and_says_so(lab: DispatchLab) -> None:
    (outcome,) = lab.sent(lab.started(), lab.run(works.nothing, work_id="unheard_of"))
    assert isinstance(outcome.error, OptionError)
    assert "unheard_of" in (outcome.text or "")


def test_a_run_that_waits_in_the_broker_never_begins_once_it_is_stopped(broker: str, tmp_path: Path) -> None:
    place = CeleryWorkers(app=app_of(broker), queue="nobody-serves")
    lab = DispatchLab(lambda workers, clock: place.dispatcher(clock=clock), is_async=False, folder=tmp_path)
    run = lab.run(works.nothing)
    lab.started().dispatch([run])
    backend, key = place.app.backend, str(key_of(run, "kokugen").uuid)
    for _ in range(works.TRIES):
        if backend.get_state(key) == SENT:
            break
    run.ask_to_stop(Interrupt.CANCEL)
    assert lab.outcomes.one().ending is Ending.INTERRUPTED
    assert backend.get_state(key) in (DROPPED, states.REVOKED)
    lab.close()


def test_where_no_broker_is_reached_a_run_is_put_off_and_no_attempt_is_used_up(tmp_path: Path) -> None:
    app = app_of(f"redis+socket://{tmp_path / 'nobody'}")
    app.conf.update(result_backend_transport_options={"retry_policy": {"max_retries": 0}})
    place = CeleryWorkers(app=app)
    lab = DispatchLab(lambda workers, clock: place.dispatcher(clock=clock), is_async=False, folder=tmp_path)
    (outcome,) = lab.sent(lab.started(), lab.run(works.nothing))
    lab.close()
    assert outcome.ending is Ending.SNOOZED
    assert isinstance(outcome.error, NotCalled)


def test_a_run_whose_worker_is_killed_fails_once_nobody_has_it_any_more(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kokugen.dispatcher.celery.QUERY_S", 0.5)
    monkeypatch.setattr("kokugen.dispatcher.celery.ANSWER_S", 0.5)
    place = CeleryWorkers(app=app_of(server), queue="doomed")
    lab = DispatchLab(lambda workers, clock: place.dispatcher(clock=clock), is_async=False, folder=tmp_path)
    with celery_worker(server, queue="doomed") as worker:
        lab.started().dispatch([lab.run(works.go_on, str(tmp_path))])
        lab.await_file("running")
        os.killpg(worker.pid, signal.SIGKILL)
        outcome = lab.outcomes.one()
    lab.close()
    assert outcome.ending is Ending.RAISED
    assert isinstance(outcome.error, WorkerDiedError)


def test_the_run_of_a_killed_node_is_taken_over_and_not_run_again(broker: str, tmp_path: Path) -> None:
    check_that_a_killed_nodes_run_is_taken_over("celery", broker, tmp_path)


@pytest.mark.parametrize(
    "about",
    [{"app": "celery"}, {"workers": -1}, {"scope": "a b"}, {"name": "asyncio"}, {"kill_after": timedelta(-1)}],
    ids=str,
)
def test_senseless_options_of_celery_are_refused(about: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        CeleryWorkers(**{"app": app_of("memory://"), **about})
