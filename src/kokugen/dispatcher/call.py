"""One run, from its start to its outcome. Dispatchers call this where the work is to run; it calls the work.

Whatever the work does, an outcome is returned and nothing is raised.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from traceback import TracebackException
from typing import Any

from kokugen.clock import Clock, duration_us
from kokugen.codec import cut_error
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.errors import CodecError, SealError, UndecodableError
from kokugen.middleware.base import WorkNext
from kokugen.run import Cancel, Interrupt, RetryAfter, Run, Snooze, bind_run, unbind_run

CONCEALED = "the text is not stored, for the payloads of this store are encrypted"
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
    text = cut_error(_reason(run, error))
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
    return Outcome(run=run, ending=ending, error=error, text=error_text(error, told=not run.conceals))


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


def _reason(run: Run, error: Steering) -> str:
    """Return why: the work's own words; where arguments cannot be read, ours, which may quote them."""
    if run.conceals and isinstance(error, UndecodableError) and not isinstance(error.__cause__, SealError):
        return f"the stored arguments do not fit what the work declares; {CONCEALED}"
    return str(error)


class RemoteTraceback(Exception):
    """The traceback of an error that was raised in another process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def error_text(error: BaseException, *, told: bool = True) -> str:
    """Return the traceback, for people, without kokugen's own frames and cut to its limit. It holds no variables.

    Of an error that was raised elsewhere it is the one from there. Where its errors are not to be told, their classes
    are, and where they were raised.
    """
    if told and isinstance(error.__cause__, RemoteTraceback):
        return cut_error(error.__cause__.text)
    whole = TracebackException.from_exception(error)
    _strip(whole, set())
    lines = whole.format() if told else _concealed(error, whole, set())
    return cut_error("".join(lines).rstrip())


def _concealed(error: BaseException, told: TracebackException, seen: set[int]) -> Iterator[str]:
    """Yield the places of an error and of what it came of, and the names of their classes."""
    seen.add(id(error))
    cause, before = error.__cause__ or error.__context__, told.__cause__ or told.__context__
    if cause is not None and before is not None and id(cause) not in seen and not isinstance(cause, RemoteTraceback):
        yield from _concealed(cause, before, seen)
        yield "\nand of that came\n\n"
    yield "Traceback (most recent call last):\n"
    yield from told.stack.format()
    kind = type(error)
    yield f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.") + f": {CONCEALED}\n"


def _strip(told: TracebackException, seen: set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(PACKAGE)]
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if other is not None:
            _strip(other, seen)
