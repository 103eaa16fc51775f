"""What kokugen promises a Django project. `test_django.py` runs this file in a process that has Django to itself."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from kokugen import Retry, Scheduler, Snooze
from kokugen.errors import WorkArgumentsError

NAME = "promised"
BACKEND = "kokugen.integrations.django.backend.KokugenBackend"
FOLDER = tempfile.TemporaryDirectory()
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER.name}/promised.sqlite3"}
sys.modules[NAME] = sys.modules[__name__]  # as a project's own module has a name that Django can import

scheduler = Scheduler("memory://")
settings.configure(
    INSTALLED_APPS=["kokugen.integrations.django"],
    DATABASES={"default": SQLITE},
    USE_TZ=True,
    KOKUGEN_SCHEDULER=f"{NAME}.scheduler",
    TASKS={
        "default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]},
        "committed": {"BACKEND": BACKEND, "OPTIONS": {"transaction": "on_commit"}},
        "tried": {"BACKEND": BACKEND, "OPTIONS": {"work": {"retry": Retry(3, initial=timedelta(0))}}},
    },
)
django.setup()

from django.core.exceptions import ImproperlyConfigured  # noqa: E402 - Django is set up from here on
from django.core.management import CommandError, call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import override_settings  # noqa: E402

from kokugen.integrations.django.apps import KokugenConfig, config  # noqa: E402
from kokugen.integrations.django.backend import KokugenBackend, level  # noqa: E402
from kokugen.integrations.django.commit import after_commit  # noqa: E402
from kokugen.integrations.django.interface import (  # noqa: E402
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from kokugen.integrations.django.results import error_of  # noqa: E402
from kokugen.middleware.connections import DjangoConnections  # noqa: E402
from kokugen.task import Priority, TaskParam  # noqa: E402
from kokugen.testing import Stage  # noqa: E402
from tests.middleware.calls import call  # noqa: E402

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

SOON = timedelta(0)
seen: list[Any] = []


def declared(**about: Any) -> Callable[[Callable[..., Any]], Any]:
    """Django's decorator, which has no types."""
    decorator: Callable[[Callable[..., Any]], Any] = task(**about)
    return decorator


@declared()
def add(a: int, b: int = 1) -> int:
    return a + b


@declared(queue_name="mail", priority=60)
async def fetch(url: str) -> str:
    await asyncio.sleep(0)
    return url


@declared(takes_context=True)
def tell(context: Any, who: str) -> list[Any]:
    return [context.task_result.id, context.attempt, who]


@declared(takes_context=True)
async def tell_async(context: Any, who: str) -> list[Any]:
    return [context.task_result.id, context.attempt, who]


@declared()
def fail() -> None:
    raise ConnectionError("the mail server is down")


@declared(backend="committed")
def committed(a: int) -> int:
    return a


@declared(backend="tried")
def tried() -> None:
    seen.append("tried")
    raise LookupError("not yet")


@declared()
def snooze() -> str:
    seen.append("snooze")
    if len(seen) == 1:
        raise Snooze(timedelta(hours=1))
    return "awake"


@scheduler.work
def plain(a: int) -> int:
    return a


@pytest.fixture
def stage() -> Iterator[Stage]:
    seen.clear()
    with Stage() as stage:
        stage.take(config().scheduler)
        yield stage


@pytest.fixture
def real() -> Iterator[Scheduler]:
    """The scheduler with its threads: Django sends its signals to an async task by one of its own."""
    with config().scheduler as started:
        yield started


def ended(result: Any) -> Any:
    scheduler.wait(result.id, timedelta(seconds=30))
    result.refresh()
    return result


# -- The backend


def test_a_task_is_enqueued_run_and_its_result_read(stage: Stage) -> None:
    result = add.enqueue(2, b=3)
    assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [2], {"b": 3})
    stage.clock.advance()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 5, 1)
    again = add.get_result(result.id)
    assert (again.return_value, again.args, again.finished_at) == (5, [2], result.finished_at)


def test_it_waits_in_the_store_by_its_path_queue_and_priority(stage: Stage) -> None:
    info = scheduler.get(fetch.enqueue("https://example.org/").id)
    assert (info.work_id.rpartition(".")[2], info.queue, info.priority) == ("fetch", "mail", Priority.URGENT)
    assert info.work_id == fetch.module_path


@pytest.mark.parametrize(("of", "to"), [(-100, 0), (-1, 0), (0, 1), (1, 2), (50, 2), (51, 3), (100, 3)])
def test_priorities_of_django_are_levels(stage: Stage, of: int, to: int) -> None:
    assert level(of) == to
    assert scheduler.get(add.using(priority=of).enqueue(1).id).priority == to


def test_a_later_time_is_kept(stage: Stage) -> None:
    when = stage.clock.now + timedelta(days=30)
    result = add.using(run_after=when).enqueue(1)
    assert scheduler.get(result.id).scheduled_time == when
    stage.clock.advance(days=29)
    result.refresh()
    assert result.status == TaskResultStatus.READY
    stage.clock.advance(days=1)
    result.refresh()
    assert result.return_value == 2


def test_a_naive_time_is_of_djangos_zone(stage: Stage) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        result = add.using(run_after=datetime(2030, 1, 1, 9)).enqueue(1)  # noqa: DTZ001 - as it is with USE_TZ=False
    assert scheduler.get(result.id).scheduled_time == datetime(2030, 1, 1, tzinfo=UTC)


def test_async_callers_and_async_tasks_are_served(real: Scheduler) -> None:
    result = asyncio.run(add.aenqueue(4))
    ended(result)
    assert asyncio.run(add.aget_result(result.id)).return_value == 5
    assert (
        ended(fetch.using(queue_name="default").enqueue("https://example.org/")).return_value == "https://example.org/"
    )


@pytest.mark.parametrize("task", [tell, tell_async], ids=["sync", "async"])
def test_a_task_that_takes_its_context_has_it(real: Scheduler, task: Any) -> None:
    result = ended(task.enqueue("Ann"))
    assert result.return_value == [result.id, 1, "Ann"]


def test_a_failure_is_told_by_its_class_and_traceback(stage: Stage) -> None:
    result = fail.enqueue()
    stage.clock.advance()
    result.refresh()
    (error,) = result.errors
    assert (result.status, error.exception_class) == (TaskResultStatus.FAILED, ConnectionError)
    assert "the mail server is down" in error.traceback


@pytest.mark.parametrize(
    ("traceback", "path"),
    [
        ("Traceback (most recent call last):\n  File …\nshop.errors.Late: by: 3 s", "shop.errors.Late"),
        ("Traceback (most recent call last):\n  File …\nKeyError", "builtins.KeyError"),
        ("nothing like a traceback of any kind", "builtins.Exception"),
    ],
)
def test_the_class_of_a_stored_error_is_on_its_last_line(traceback: str, path: str) -> None:
    assert error_of(traceback).exception_class_path == path


def test_options_of_kokugens_hold_for_every_task_of_the_backend(stage: Stage) -> None:
    result = tried.enqueue()
    stage.clock.advance(seconds=1)
    result.refresh()
    assert (seen, result.attempts, len(result.errors)) == (["tried"] * 3, 3, 3)


def test_arguments_that_do_not_fit_are_refused_and_nothing_is_stored(stage: Stage) -> None:
    with pytest.raises(WorkArgumentsError):
        add.enqueue("no number")
    with pytest.raises(TypeError):
        add.enqueue(object())
    with pytest.raises(WorkArgumentsError):
        tell.enqueue()
    with transaction.atomic(), pytest.raises(WorkArgumentsError):
        committed.enqueue("no number")
    assert scheduler.count() == 0


def test_a_result_that_is_not_there_or_of_other_work_is_none_of_djangos(stage: Stage) -> None:
    for task_id in ("nobody", scheduler.after(SOON, plain, 1).id):
        with pytest.raises(TaskResultDoesNotExist):
            add.get_backend().get_result(task_id)
    strange = scheduler.schedule(TaskParam(work_id="shop.tasks.gone", scheduled_time=stage.clock.now))
    with pytest.raises(TaskResultDoesNotExist, match="no task here"):
        add.get_backend().get_result(strange.id)


def test_a_cancelled_task_has_failed_without_an_error(stage: Stage) -> None:
    result = add.using(run_after=stage.clock.now + timedelta(days=1)).enqueue(1)
    scheduler.cancel(result.id)
    result.refresh()
    assert (result.status, result.errors) == (TaskResultStatus.FAILED, [])


def test_signals_are_sent_as_django_says(real: Scheduler) -> None:
    heard: list[tuple[str, Any, str]] = []

    def hear(name: str) -> Any:
        def receiver(sender: type, task_result: Any, **_: Any) -> None:
            assert sender is KokugenBackend
            heard.append((name, task_result.status, task_result.id))

        return receiver

    receivers = [(one, hear(name)) for name, one in (("+", task_enqueued), ("|", task_started), ("-", task_finished))]
    for signal, receiver in receivers:
        signal.connect(receiver)
    try:
        asked = ((add, (1,)), (tell_async, ("Ann",)), (fail, ()))
        results = [ended(one.enqueue(*args)) for one, args in asked]
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)
    done, failed = TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED
    for result, end in zip(results, (done, done, failed), strict=True):
        told = [(name, status) for name, status, task_id in heard if task_id == result.id]
        assert told.index(("|", TaskResultStatus.RUNNING)) < told.index(("-", end))
        assert set(told) == {("+", TaskResultStatus.READY), ("|", TaskResultStatus.RUNNING), ("-", end)}


def test_a_task_that_snoozes_is_not_finished_yet(stage: Stage) -> None:
    result = snooze.enqueue()
    stage.clock.advance()
    result.refresh()
    assert result.status == TaskResultStatus.READY
    stage.clock.advance(hours=1)
    result.refresh()
    assert result.return_value == "awake"


# -- Transactions


def test_what_is_enqueued_on_commit_is_scheduled_then_and_not_where_it_is_rolled_back(stage: Stage) -> None:
    with transaction.atomic():
        kept = committed.enqueue(7)
        assert scheduler.count() == 0
    stage.clock.advance()
    assert committed.get_result(kept.id).return_value == 7
    with transaction.atomic():
        committed.enqueue(8)
        transaction.set_rollback(True)
    assert scheduler.count() == 1
    committed.enqueue(9)
    assert scheduler.count() == 2


def test_work_is_scheduled_after_the_commit_or_never(stage: Stage) -> None:
    when = stage.clock.now + timedelta(days=1)
    with transaction.atomic():
        after_commit(scheduler).after(SOON, plain, 1)
        after_commit(scheduler).at(when, plain, a=2)
        assert scheduler.count() == 0
    assert [info.param.args or info.param.kwargs for info in scheduler.tasks()] == [(1,), {"a": 2}]
    with transaction.atomic():
        after_commit(scheduler).after(SOON, plain, 3)
        transaction.set_rollback(True)
    after_commit(scheduler).after(SOON, plain, 4)
    assert scheduler.count() == 3


def test_what_would_be_refused_after_the_commit_is_refused_before(stage: Stage) -> None:
    with transaction.atomic():
        with pytest.raises(WorkArgumentsError):
            after_commit(scheduler).after(SOON, plain, "no number")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="out of range"):
            after_commit(scheduler).after(-timedelta(1), plain, 1)
        with pytest.raises(ValueError, match="no time zone"):
            after_commit(scheduler).at(datetime(2030, 1, 1), plain, 1)  # noqa: DTZ001 - what is refused


# -- Settings


@pytest.mark.parametrize("options", [{"transaction": "always"}, {"transactions": None}, {"work": {"retries": 3}}])
def test_options_that_there_are_not_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match="OPTIONS"):
        KokugenBackend("other", {"OPTIONS": options})


@pytest.mark.parametrize(
    ("path", "words"), [(None, "is to name a Scheduler"), (f"{NAME}.NAME", "is no kokugen.Scheduler but a str")]
)
def test_a_scheduler_that_is_none_is_refused(path: str | None, words: str) -> None:
    fresh = KokugenConfig("kokugen.integrations.django", sys.modules["kokugen.integrations.django"])
    with override_settings(KOKUGEN_SCHEDULER=path), pytest.raises(ImproperlyConfigured, match=words):
        _ = fresh.scheduler


def test_the_command_refuses_bad_options() -> None:
    with pytest.raises(CommandError, match="grace"):
        call_command("kokugen_worker", grace="soon", workers=None, queues=None)


# -- Connections


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("raises", [False, True], ids=["returned", "raised"])
def test_a_connection_that_is_past_its_age_is_closed_behind_work(kind: int, raises: bool) -> None:
    kept: list[Any] = []

    def use() -> None:
        connection.ensure_connection()
        kept.append(connection.connection)
        connection.close_at = 0  # long ago, by its clock
        if raises:
            raise ConnectionError

    async def use_async() -> None:
        await sync_to_async(use)()

    call(DjangoConnections(), use_async if kind else use)
    call(DjangoConnections(), use_async if kind else use)
    assert kept[0] is not kept[1]
