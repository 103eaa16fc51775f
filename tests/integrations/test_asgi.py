"""A scheduler in the lifespan of a real FastAPI application: started, found, stopped, and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from kokugen import AsyncScheduler, Scheduler, TaskState
from kokugen.errors import RepositoryError
from kokugen.integrations.asgi import lifespan
from kokugen.testing import Stage
from tests.integrations.applications import loaded


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return loaded("fastapi_app", f"sqlite:///{tmp_path / 'tasks.db'}", monkeypatch)


def ended(client: TestClient, task_id: str) -> dict[str, Any]:
    """What the example says of a task once it is over."""
    for _ in range(3000):
        told: dict[str, Any] = client.get(f"/greetings/{task_id}").json()
        if told["state"] not in ("Initialized", "Working"):
            return told
        Event().wait(0.01)
    raise AssertionError(f"task {task_id} did not end")


def test_the_example_schedules_and_runs(example: ModuleType) -> None:
    with TestClient(example.app) as client:
        answer = client.post("/greetings/Ann")
        assert answer.status_code == 202
        assert ended(client, answer.json()["id"]) == {"state": "Done", "greeting": '"Hello Ann"'}
        assert client.get("/greetings/nobody").status_code == 404


def test_what_waits_when_the_application_stops_runs_when_it_starts_again(example: ModuleType) -> None:
    with TestClient(example.app) as client:
        assert example.scheduler.running
        task_id = client.post("/greetings/Ann", params={"delay": 0.2}).json()["id"]
    assert not example.scheduler.running
    with TestClient(example.app) as client:
        assert ended(client, task_id)["state"] == "Done"


def test_it_works_on_a_stage_as_well(example: ModuleType) -> None:
    with Stage() as stage:
        stage.take(example.scheduler)
        with TestClient(example.app) as client:
            task_id = client.post("/greetings/Ann", params={"delay": 86_400}).json()["id"]
            stage.clock.advance(days=1)
            assert client.get(f"/greetings/{task_id}").json() == {"state": "Done", "greeting": '"Hello Ann"'}


@pytest.mark.parametrize("kind", [Scheduler, AsyncScheduler])
def test_without_running_work_it_schedules_for_others(kind: type[Any], tmp_path: Path) -> None:
    scheduler = kind(f"sqlite:///{tmp_path / 'tasks.db'}")
    app = FastAPI(lifespan=lifespan(scheduler, run=False))
    with TestClient(app):
        assert (tmp_path / "tasks.db").exists()
        assert not scheduler.running


def test_a_lifespan_of_ones_own_goes_on_inside_and_handlers_find_both(tmp_path: Path) -> None:
    seen: list[Any] = []
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}")

    @asynccontextmanager
    async def inside(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        seen.append(scheduler.running)
        yield {"pool": "a pool"}
        seen.append(scheduler.running)

    app = FastAPI(lifespan=lifespan(scheduler, inside=inside))

    @app.get("/")
    async def look(request: Request) -> list[bool]:
        return [request.state.kokugen is scheduler, request.state.pool == "a pool"]

    with TestClient(app) as client:
        assert client.get("/").json() == [True, True]
    assert (seen, scheduler.running) == ([True, True], False)


def test_an_application_whose_store_cannot_be_opened_does_not_start(tmp_path: Path) -> None:
    scheduler = AsyncScheduler(f"sqlite:///{tmp_path / 'missing' / 'tasks.db'}")
    with pytest.raises(RepositoryError), TestClient(FastAPI(lifespan=lifespan(scheduler))):
        raise AssertionError("it started")


def test_an_application_whose_own_lifespan_fails_leaves_no_scheduler_running() -> None:
    scheduler = Scheduler("memory://")

    @asynccontextmanager
    async def inside(app: FastAPI) -> AsyncIterator[None]:
        raise ConnectionError("no database")
        yield

    app = FastAPI(lifespan=lifespan(scheduler, inside=inside))
    with pytest.raises(ConnectionError), TestClient(app):
        raise AssertionError("it started")
    assert not scheduler.running
    assert scheduler.count(state=TaskState.INITIALIZED) == 0
