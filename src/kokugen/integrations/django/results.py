"""Tasks of `django.tasks` as Django sees them: what is stored, and what is under way, as a `TaskResult`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from kokugen.integrations.django.interface import TaskError, TaskResult, TaskResultStatus
from kokugen.run import Run
from kokugen.scheduler import Scheduler
from kokugen.task import Attempt, Params, TaskInfo, TaskState

STATUS = {
    TaskState.INITIALIZED: TaskResultStatus.READY,
    TaskState.WORKING: TaskResultStatus.RUNNING,
    TaskState.DONE: TaskResultStatus.SUCCESSFUL,
    TaskState.CANCELLED: TaskResultStatus.FAILED,
    TaskState.FAILED: TaskResultStatus.FAILED,
}
_LAST_LINE = re.compile(r"^(?:  [|+ -]*)?([A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)


def asked(task: Any, task_id: str, args: Sequence[Any], kwargs: dict[str, Any], enqueued_at: Any) -> Any:
    """Return the result of a task that waits."""
    return _result(task, task_id, args, kwargs, status=TaskResultStatus.READY, enqueued_at=enqueued_at)


def under_way(task: Any, run: Run, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Return the result of a task in the run of it that is under way in this process."""
    workers = ["earlier"] * (run.attempt - 1) + [f"process {os.getpid()}"]
    times = {"started_at": run.started_at, "last_attempted_at": run.started_at}
    return _result(task, run.task_id, args, kwargs, status=TaskResultStatus.RUNNING, worker_ids=workers, **times)


def stored(task: Any, info: TaskInfo, scheduler: Scheduler) -> Any:
    """Return the result of a task as it is stored now."""
    params = info.param if isinstance(info.param, Params) else Params()
    attempts = scheduler.attempts(info.id) if info.attempt else []
    result = _result(
        task,
        info.id,
        params.args,
        params.kwargs,
        status=STATUS[info.state],
        enqueued_at=info.created_at,
        started_at=info.started_at,
        last_attempted_at=info.started_at,
        finished_at=info.finished_at if info.state.terminal else None,
        errors=[error_of(attempt.error) for attempt in attempts if attempt.error],
        worker_ids=_workers(info, attempts),
    )
    if info.state is TaskState.DONE:
        object.__setattr__(result, "_return_value", scheduler.result(info.id, timedelta(0)))
    return result


def error_of(traceback: str) -> Any:
    """Return a stored traceback as Django's error: its last line names the class."""
    names = _LAST_LINE.findall(traceback)
    name = names[-1] if names else "Exception"
    return TaskError(exception_class_path=name if "." in name else f"builtins.{name}", traceback=traceback)


def _workers(info: TaskInfo, attempts: Sequence[Attempt]) -> list[str]:
    """Return one name an attempt: of those that simply succeeded the store does not say where."""
    told = [attempt.node or "unknown" for attempt in attempts][: info.attempt]
    return told + [info.owner or "unknown"] * (info.attempt - len(told))


def _result(task: Any, task_id: str, args: Sequence[Any], kwargs: dict[str, Any], **about: Any) -> Any:
    times = dict.fromkeys(("enqueued_at", "started_at", "finished_at", "last_attempted_at"))
    lists: dict[str, Any] = {"errors": [], "worker_ids": []}
    return TaskResult(
        task=task, id=task_id, args=list(args), kwargs=kwargs, backend=task.backend, **(times | lists | about)
    )
