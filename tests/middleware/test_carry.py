"""What the scheduling code had comes along to the run: stored with the task, given around the work, and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kokugen import AsyncScheduler, FunctionRegistry, Scheduler, TaskParam, current_run
from kokugen.clock import from_us
from kokugen.errors import LimitExceededError, OptionError
from kokugen.middleware.base import Middleware, ScheduleNext, ScheduleRequest
from kokugen.middleware.carry import CarryMiddleware
from kokugen.middleware.context import ContextMiddleware
from kokugen.options import HEADERS_MAX
from kokugen.reply import Reply
from kokugen.task import replace
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual

SOON = timedelta(0)
WITHIN = timedelta(seconds=30)

language: ContextVar[Any] = ContextVar("language", default=None)
tenant: ContextVar[Any] = ContextVar("tenant")
user: ContextVar[Any] = ContextVar("user")


@contextmanager
def speaking(value: Any) -> Iterator[None]:
    token = language.set(value)
    try:
        yield
    finally:
        language.reset(token)


class Header(Middleware):
    """Sends this along."""

    def __init__(self, **headers: Any) -> None:
        self._headers = headers

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        return call_next(replace(request, headers={**request.headers, **self._headers}))


works = FunctionRegistry()


@works.work
def spoken() -> Any:
    return language.get()


@works.work
async def spoken_async() -> Any:
    return language.get()


@works.work
def seen() -> list[Any]:
    return [tenant.get("unset"), user.get("unset")]


@works.work
def headers() -> dict[str, str]:
    return dict(current_run().headers)


def carrying(**about: Any) -> CarryMiddleware:
    return CarryMiddleware("language", language.get, speaking, **about)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/tasks.db"])
def test_a_value_comes_along_to_sync_and_async_work_and_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    with Scheduler(url.format(tmp_path), works=works, middleware=[carrying()]) as scheduler:
        with speaking("ja"):
            told = [scheduler.after(SOON, work) for work in (spoken, spoken_async)]
        told.append(scheduler.after(SOON, spoken))
        assert [one.result(WITHIN) for one in told] == ["ja", "ja", None]


def test_it_waits_in_the_store_for_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    early = Scheduler(url, works=works, middleware=[carrying()])
    with speaking("de"):
        task = early.after(SOON, spoken)
    early.close()
    with Scheduler(url, works=works, middleware=[carrying()]) as scheduler:
        assert scheduler.result(task.id, WITHIN) == "de"


def test_a_value_is_read_as_the_type_it_is_said_to_be() -> None:
    day = date(2030, 5, 1)
    with Scheduler("memory://", works=works, middleware=[carrying(kind=date)]) as scheduler, speaking(day):
        assert scheduler.after(SOON, spoken).result(WITHIN) == day.isoformat()
    assert language.get() is None


def test_what_is_scheduled_in_plain_data_has_it_too() -> None:
    async def main(clock: VirtualClock) -> None:
        async with VirtualScheduler(clock, works=works, middleware=[carrying()]) as scheduler:
            with speaking("fr"):
                param = TaskParam(work_id="spoken", scheduled_time=clock.now + timedelta(days=30))
                task = await scheduler.schedule(param)
                (other,) = await scheduler.schedule_many([replace(param, scheduled_time=from_us(clock.wall_us()))])
            assert [await other.result(), await task.result()] == ["fr", "fr"]

    run_virtual(main)


async def test_context_variables_come_back_where_they_were_set() -> None:
    async with AsyncScheduler("memory://", works=works, middleware=[ContextMiddleware(tenant, user)]) as scheduler:
        token = tenant.set({"shop": 7})
        try:
            set_ = await scheduler.after(SOON, seen)
        finally:
            tenant.reset(token)
        unset = await scheduler.after(SOON, seen)
        assert [await set_.result(WITHIN), await unset.result(WITHIN)] == [[{"shop": 7}, "unset"], ["unset", "unset"]]


def test_a_variable_that_is_not_carried_any_more_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    before = Scheduler(url, works=works, middleware=[ContextMiddleware(tenant, user)])
    token = tenant.set("shop")
    task = before.after(SOON, seen)
    tenant.reset(token)
    before.close()
    with Scheduler(url, works=works, middleware=[ContextMiddleware(user)]) as scheduler:
        assert scheduler.result(task.id, WITHIN) == ["unset", "unset"]


def test_variables_of_one_name_are_refused() -> None:
    refused: list[tuple[ContextVar[Any], ...]] = [(), (tenant, ContextVar("tenant"))]
    for variables in refused:
        with pytest.raises(OptionError, match="each with a name of its own"):
            ContextMiddleware(*variables)


# -- Headers as such


def test_headers_of_several_middlewares_arrive_together() -> None:
    with Scheduler("memory://", works=works, middleware=[Header(a="1"), Header(b="2")]) as scheduler:
        task = scheduler.after(SOON, headers.options(timeout=timedelta(minutes=1)))
        assert task.result(WITHIN) == {"a": "1", "b": "2"}
        assert scheduler.after(SOON, headers).result(WITHIN) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("header", "refusal", "words"),
    [(7, OptionError, "use text for both"), ("x" * HEADERS_MAX, LimitExceededError, "send less along")],
)
def test_headers_that_cannot_be_stored_refuse_the_task(header: Any, refusal: type[Exception], words: str) -> None:
    scheduler = Scheduler("memory://", works=works, middleware=[Header(a=header)])
    with pytest.raises(refusal, match=words):
        scheduler.after(SOON, headers)
    assert scheduler.count() == 0


def test_a_run_cannot_change_the_headers_of_others() -> None:
    @works.work(id="changing")
    def changing() -> None:
        current_run().headers["a"] = "2"  # type: ignore[index]

    with Scheduler("memory://", works=works, middleware=[Header(a="1")]) as scheduler:
        assert "TypeError" in (scheduler.after(SOON, changing).wait(WITHIN).error or "")
        assert scheduler.after(SOON, headers).result(WITHIN) == {"a": "1"}
