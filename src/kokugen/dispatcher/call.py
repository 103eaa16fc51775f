"""One run, from its start to its outcome. Dispatchers call this where the work is to run; it calls the work.

Whatever the work does, an outcome is returned and nothing is raised.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from traceback import TracebackException
from typing import Any

from kokugen.clock import Clock, duration_us
from kokugen.codec import cut_error
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.errors import CodecError, UndecodableError
from kokugen.middleware.base import WorkNext
from kokugen.run import Cancel, Interrupt, RetryAfter, Run, Snooze, bind_run, unbind_run

PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"

Steering = RetryAfter | Snooze | Cancel | UndecodableError


def call_sync(run: Run, chain: WorkNext, clock: Clock) -> Outcome:
    """Call sync work and return the outcome. `chain` is `call_work`, wrapped in the middleware."""
    if (obstacle := _obstacle(run, clock)) is not None:
        return not_started(run, obstacle)
    run.started_us = clock.wall_us()
    token = bind_run(run)
    try:
        result = run.work.encode_result(chain(run))
    except BaseException as error:  # noqa: BLE001 - nothing that work raises may stop a worker
        return ended(run, error)
    finally:
        unbind_run(token)
    return Outcome(run=run, ending=Ending.RETURNED, result=result)


async def call_async(run: Run, chain: WorkNext, clock: Clock) -> Outcome:
    """Call async work, await it and return the outcome: for an asyncio task of its own, with which its context ends.

    To stop it, `run.ask_to_stop`, then cancel the task.
    """
    if (obstacle := _obstacle(run, clock)) is not None:
        return not_started(run, obstacle)
    run.started_us = clock.wall_us()
    bind_run(run)
    try:
        result = run.work.encode_result(await chain(run))
    except GeneratorExit as error:  # as a rule the garbage collector's, which is no place to tell a traceback in
        return Outcome(run=run, ending=Ending.RAISED, error=error, text="GeneratorExit")
    except BaseException as error:  # noqa: BLE001 - nothing that work raises may stop a loop
        if isinstance(error, asyncio.CancelledError) and loop_is_ending():
            run.ask_to_stop(Interrupt.STOP)
        return ended(run, error)
    return Outcome(run=run, ending=Ending.RETURNED, result=result)


def call_work(run: Run) -> Any:
    """Decode the arguments and call the work: the innermost step of every chain. Raises UndecodableError."""
    work = run.work
    try:
        args, kwargs = work.decode(run.param)
    except CodecError as error:
        raise UndecodableError(str(error)) from error
    return work.call(args, kwargs)


def _obstacle(run: Run, clock: Clock) -> str | None:
    """Return why the work must not be called, or None."""
    if run.interrupt is not None and run.interrupt is not Interrupt.TIMEOUT:  # that one began with the run
        return "it was asked to stop before it started"
    if not run.may_start(clock):
        return "its lease could no longer be trusted"
    if run.start_before_us is not None and clock.wall_us() >= run.start_before_us:
        return "it was too late to start it"
    return None


def not_started(run: Run, reason: str) -> Outcome:
    """Return the outcome of a run that was begun, but whose work was not called."""
    return Outcome(run=run, ending=Ending.NOT_STARTED, text=reason)


def cut_off(run: Run, reason: str) -> Outcome:
    """Return the outcome of a run that was begun, and whose place to run is gone: it will not go on."""
    if not run.started_us:
        return not_started(run, reason)
    run.ask_to_stop(Interrupt.STOP)
    return Outcome(run=run, ending=Ending.INTERRUPTED, text=reason)


def ended(run: Run, error: BaseException) -> Outcome:
    """Return the outcome of a run whose work raised."""
    try:
        return _steered(run, error) if isinstance(error, Steering) else _raised(run, error)
    except Exception:  # noqa: BLE001 - an error that cannot even be told, by its own methods' fault
        return Outcome(run=run, ending=Ending.RAISED, error=error, text=type(error).__name__)


def _steered(run: Run, error: Steering) -> Outcome:
    text = cut_error(str(error))
    if isinstance(error, RetryAfter):
        delay_us = duration_us(error.delay)
        return Outcome(run=run, ending=Ending.RETRY_AFTER, error=error, text=text, delay_us=delay_us)
    if isinstance(error, Snooze):
        delay_us = duration_us(error.delay)
        return Outcome(run=run, ending=Ending.SNOOZED, error=error, text=text, delay_us=delay_us)
    ending = Ending.CANCELLED if isinstance(error, Cancel) else Ending.UNDECODABLE
    return Outcome(run=run, ending=ending, error=error, text=text)


def _raised(run: Run, error: BaseException) -> Outcome:
    ending = Ending.INTERRUPTED if _obeyed(run, error) else Ending.RAISED
    return Outcome(run=run, ending=ending, error=error, text=error_text(error))


def _obeyed(run: Run, error: BaseException) -> bool:
    """Return whether it raised because it was asked to stop, so that it is no failure of the work."""
    if run.interrupt is Interrupt.TIMEOUT and isinstance(error, TimeoutError):
        return True
    return run.interrupt is not None and isinstance(error, asyncio.CancelledError)


def loop_is_ending() -> bool:
    """Return whether every task of the running loop is being cancelled, as `asyncio.run` does in the end.

    Then the work was cut off by no fault of its own. Work that merely cancels itself leaves other tasks in peace.
    """
    return all(task.cancelling() for task in asyncio.all_tasks())


class RemoteTraceback(Exception):
    """The traceback of an error that was raised in another process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def error_text(error: BaseException) -> str:
    """Return the traceback, for people, without kokugen's own frames and cut to its limit. It holds no variables.

    Of an error that was raised elsewhere it is the one from there.
    """
    if isinstance(error.__cause__, RemoteTraceback):
        return cut_error(error.__cause__.text)
    told = TracebackException.from_exception(error)
    _strip(told, set())
    return cut_error("".join(told.format()).rstrip())


def _strip(told: TracebackException, seen: set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(PACKAGE)]
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _strip(other, seen)
