"""What a test says of what was scheduled: assertions that tell what there is where they fail."""

from __future__ import annotations

from typing import Any

from kokugen.async_scheduler import AsyncScheduler
from kokugen.codec import encode_params
from kokugen.errors import CodecError
from kokugen.registry.work import Work
from kokugen.scheduler import Scheduler
from kokugen.task import Params, TaskInfo, TaskQuery, TaskState

ANSWER_S = 60.0
LISTED_MAX = 1000


def scheduled(scheduler: Scheduler | AsyncScheduler, work: Work[..., Any] | None = None) -> list[TaskInfo]:
    """Return the tasks that wait, the earliest first: all, or those of one work. The first 1,000."""
    query = TaskQuery(
        states=frozenset({TaskState.INITIALIZED}), work_id=None if work is None else work.id, limit=LISTED_MAX
    )
    scheduler.repository.open()
    return scheduler.repository.page(query).result(ANSWER_S)


def assert_scheduled(
    scheduler: Scheduler | AsyncScheduler, work: Work[..., Any], /, *args: Any, **kwargs: Any
) -> TaskInfo:
    """Return the one task of this work that waits with these arguments, by whatever way they were passed.

    Raises AssertionError where there is none, or more than one, and says what there is.
    """
    expected = _bound(work, work.encode(args, kwargs))
    waiting = scheduled(scheduler, work)
    found = [info for info in waiting if _bound(work, _text(scheduler, info)) == expected]
    if len(found) == 1:
        return found[0]
    asked = _call(work.id, args, kwargs)
    raise AssertionError(f"{len(found) or 'no'} tasks wait for {asked}; {_told(waiting or scheduled(scheduler))}")


def assert_not_scheduled(scheduler: Scheduler | AsyncScheduler, work: Work[..., Any] | None = None) -> None:
    """Raise AssertionError where a task waits, of this work or of any, and say what there is."""
    waiting = scheduled(scheduler, work)
    if waiting:
        raise AssertionError(f"{len(waiting)} tasks wait; {_told(waiting)}")


def _text(scheduler: Scheduler | AsyncScheduler, info: TaskInfo) -> str:
    """Return the arguments as they were written, opened where they are encrypted or signed."""
    text = encode_params(info.param) if isinstance(info.param, Params) else str(info.param)
    payloads = scheduler._front.parts.payloads
    try:
        return text if payloads is None else payloads.open_param(info.id, info.work_id, text)
    except CodecError:
        return text


def _bound(work: Work[..., Any], text: str) -> dict[str, Any] | None:
    """Return stored arguments by the names of the parameters; None where they do not fit them."""
    try:
        args, kwargs = work.decode(text)
    except CodecError:
        return None
    return work.signature().bind(args, kwargs)


def _told(waiting: list[TaskInfo]) -> str:
    lines = [f"\n  {_described(info)}" for info in waiting]
    return "these wait:" + "".join(lines) if lines else "nothing waits"


def _described(info: TaskInfo) -> str:
    params = info.param if isinstance(info.param, Params) else Params((info.param,))
    return f"{_call(info.work_id, params.args, params.kwargs)} at {info.scheduled_time.isoformat()}"


def _call(work_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    words = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return f"{work_id}({', '.join(words)})"
