"""A task of `django.tasks` as work: called with its context where it takes one, and Django's signals sent around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from traceback import format_exception
from typing import Any

from django.utils import timezone

from kokugen.integrations.django.interface import (
    TaskContext,
    TaskError,
    TaskResultStatus,
    task_finished,
    task_started,
)
from kokugen.integrations.django.results import under_way
from kokugen.options import Options
from kokugen.registry.work import Work, make_work
from kokugen.run import TaskControl, current_run


def work_of(task: Any, sender: type, options: Options) -> Work[..., Any]:
    """Return the work of a task; its id is the task's path."""
    fn = _async_call(task, sender) if inspect.iscoroutinefunction(task.func) else _call(task, sender)
    if task.takes_context:
        signature = inspect.signature(task.func)
        parameters = list(signature.parameters.values())[1:]
        fn.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return make_work(task.module_path, fn, options)


def _call(task: Any, sender: type) -> Callable[..., Any]:
    @wraps(task.func)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = under_way(task, current_run(), args, kwargs)
        task_started.send(sender=sender, task_result=result)
        try:
            with _told(result):
                value = task.func(*_context(task, result), *args, **kwargs)
        finally:
            if result.is_finished:
                task_finished.send(sender=sender, task_result=result)
        return value

    return call


def _async_call(task: Any, sender: type) -> Callable[..., Any]:
    @wraps(task.func)
    async def call(*args: Any, **kwargs: Any) -> Any:
        result = under_way(task, current_run(), args, kwargs)
        await task_started.asend(sender=sender, task_result=result)
        try:
            with _told(result):
                value = await task.func(*_context(task, result), *args, **kwargs)
        finally:
            if result.is_finished:
                await task_finished.asend(sender=sender, task_result=result)
        return value

    return call


def _context(task: Any, result: Any) -> tuple[Any, ...]:
    return (TaskContext(task_result=result),) if task.takes_context else ()


@contextmanager
def _told(result: Any) -> Iterator[None]:
    """Write into a result how its task ended. One that snoozes, or is to be tried again by its own word, has not."""
    try:
        yield
    except TaskControl:
        raise
    except BaseException as error:
        kind = type(error)
        path = f"{kind.__module__}.{kind.__qualname__}"
        result.errors.append(TaskError(exception_class_path=path, traceback="".join(format_exception(error))))
        _end(result, TaskResultStatus.FAILED)
        raise
    _end(result, TaskResultStatus.SUCCESSFUL)


def _end(result: Any, status: Any) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
