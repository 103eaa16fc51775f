"""The middleware of a mirroring task storage: store the task and mark its end; free its arguments and load them.

A scheduler applies them in the order that `middleware()` of the storage gives; they call `MirroredTasks`.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

import msgspec

from kokugen.codec import encode_params
from kokugen.dispatcher.call import ended
from kokugen.errors import (
    CodecError,
    KokugenError,
    MiddlewareOrderError,
    NoEntryError,
    NonexistentWorkIdError,
    OptionError,
    UndecodableError,
)
from kokugen.ids import system_random
from kokugen.middleware.base import Middleware, ScheduleNext, ScheduleRequest, WorkNext
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.reply import Reply
from kokugen.run import Cancel, NotCalled, Run
from kokugen.task import Params, TaskInfo, TaskState
from kokugen.task_storage.mirror import RETRY_DELAY, Mirrored, MirroredTasks, params_of
from kokugen.task_storage.settlement import settle


class StoreTask(Middleware):
    """Inserts a task before the scheduler has it, and marks its end after each run. The outermost of the two."""

    def __init__(self, mirror: MirroredTasks, registry: WorkRegistry) -> None:
        self._mirror = mirror
        self._registry = registry
        self._random = system_random()

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        entry = self._mirror.tasks.load(request.options.id or "")
        if entry is not None and entry.restoring:
            return call_next(request).then(lambda handle: _keep(entry, handle))
        self._check(request)
        accepted: Reply[Any] = Reply()
        inserted, context = self._mirror.insert(request), copy_context()
        inserted.when_done(lambda: self._pass_on(inserted, accepted, request, lambda one: context.run(call_next, one)))
        return accepted

    def _check(self, request: ScheduleRequest) -> None:
        """Raise what can be known to be wrong before anything is stored."""
        if request.options.id is not None:
            raise OptionError(
                f"id={request.options.id!r}: the repository of this task storage makes the ids; leave it out"
            )
        work = self._registry.load(request.work_id)
        if work is None:
            raise NonexistentWorkIdError(request.work_id)
        if isinstance(work, Work):
            work.encode(request.params.args, request.params.kwargs)

    def _pass_on(
        self, inserted: Reply[str], accepted: Reply[Any], request: ScheduleRequest, call_next: ScheduleNext
    ) -> None:
        try:
            task_id = inserted.peek()
        except BaseException as error:  # noqa: BLE001 - it becomes the caller's
            accepted.fail(error)
            return
        try:
            options = request.options.merged(id=task_id)
            answer = call_next(msgspec.structs.replace(request, options=options))
        except Exception as error:  # noqa: BLE001 - it becomes the caller's
            answer = Reply.failed(error)
        answer.when_done(lambda: self._answer(task_id, answer, accepted))

    def _answer(self, task_id: str, answer: Reply[Any], accepted: Reply[Any]) -> None:
        """Hand the caller its handle; where the scheduler refused the task, the error, once the task is withdrawn."""
        try:
            handle = answer.peek()
        except BaseException as error:  # noqa: BLE001 - it becomes the caller's
            refused = error
            self._mirror.withdraw(task_id).when_done(lambda: accepted.fail(refused))
            return
        entry = self._mirror.tasks.load(task_id)
        if entry is not None:
            entry.handle = handle
        accepted.resolve(handle)

    def task_cancelled(self, task_id: str) -> Reply[bool]:
        """Mark a task that was cancelled before it ran: else it would come back after a restart, and run."""
        return self._mirror.mark_cancelled(task_id)

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        entry = self._mirror.begin(run).result()
        try:
            result = call_next(run)
        except BaseException as error:
            self._mirror.finish(entry, run, self._state_after(run, error)).result()
            raise
        return _unless_changed(self._mirror.finish(entry, run, TaskState.DONE).result(), result)

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        entry = await self._mirror.begin(run)
        try:
            result = await call_next(run)
        except BaseException as error:
            marked = self._mirror.finish(entry, run, self._state_after(run, error))
            if not isinstance(error, GeneratorExit):  # a coroutine that is thrown away may not wait any more
                await marked
            raise
        return _unless_changed(await self._mirror.finish(entry, run, TaskState.DONE), result)

    def _state_after(self, run: Run, error: BaseException) -> TaskState:
        """Return what the scheduler will make of it, so that a task with attempts left is not marked as over."""
        return TaskState(settle(ended(run, error), 0, self._random).row.state)


class LoadParam(Middleware):
    """Lets the scheduler forget the arguments, and loads them from the repository right before the work."""

    def __init__(self, mirror: MirroredTasks) -> None:
        self._mirror = mirror

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if (request.options.id or "") not in self._mirror.tasks:
            raise _wrong_order("no task was stored")
        return call_next(msgspec.structs.replace(request, params=Params(), freed=True))

    def work(self, run: Run, call_next: WorkNext) -> Any:
        entry = self._mirror.tasks.load(run.task_id)
        if entry is None or entry.run is not run:
            raise _wrong_order("the run was not begun")
        loading = self._mirror.load(run.task_id)
        if run.is_async:
            return self._work_async(run, loading, call_next)
        try:
            info = loading.result()
        except Exception as error:
            raise _unloaded(run, error) from error
        run.param = _text_of(info)
        return call_next(run)

    async def _work_async(self, run: Run, loading: Reply[TaskInfo], call_next: WorkNext) -> Any:
        try:
            info = await loading
        except Exception as error:
            raise _unloaded(run, error) from error
        run.param = _text_of(info)
        return await call_next(run)


def _keep(entry: Mirrored, handle: Any) -> Any:
    entry.handle = handle
    return handle


def _unless_changed(changed: KokugenError | None, result: Any) -> Any:
    """Return the result; where the repository had another end for the task, raise Cancel."""
    if changed is not None:
        raise Cancel(str(changed)) from changed
    return result


def _text_of(info: TaskInfo) -> str:
    try:
        return encode_params(params_of(info))
    except CodecError as error:
        raise UndecodableError(str(error)) from error


def _unloaded(run: Run, error: Exception) -> Cancel | NotCalled:
    """Return what becomes of a run whose arguments did not come: they may come later, unless the task is gone."""
    if isinstance(error, NoEntryError):
        return Cancel(str(error))
    return NotCalled(RETRY_DELAY, f"the repository did not give the arguments of task {run.task_id}: {error}")


def _wrong_order(found: str) -> MiddlewareOrderError:
    return MiddlewareOrderError(
        f"arguments are to be loaded, but {found} before: use all of the storage's middleware(), in its order"
    )
