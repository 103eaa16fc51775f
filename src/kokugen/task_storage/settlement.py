"""From how a run ended to what is written: the policy of retries, snoozes, cancellations and quarantine."""

from __future__ import annotations

from random import Random

from msgspec import Struct

from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.options import stored_options
from kokugen.repository.rows import Finish
from kokugen.retry import ATTEMPTS_MAX, Retry
from kokugen.run import Interrupt, NotCalled, Run
from kokugen.task import Mode, TaskState, replace

UNDECODABLE = "undecodable"
ROLLED_BACK = "the work completed its run in a transaction of its own, which was rolled back or never committed"
MAKING_ROOM = (Interrupt.STOP, Interrupt.LEASE_LOST)
"""Why work is asked to stop by no fault of its task, which is to run again."""


class Settlement(Struct, frozen=True):
    """What is written of a run, and whether it was a failed attempt, or the last one."""

    row: Finish
    failed: bool = False
    dead: bool = False


def settle(outcome: Outcome, now_us: int, random: Random) -> Settlement:
    """Decide what becomes of the task whose run ended so."""
    if outcome.ending is Ending.RETURNED and outcome.run.completing:
        outcome = replace(outcome, ending=Ending.RAISED, text=ROLLED_BACK)  # what applies unless that was committed
    run, ending = outcome.run, outcome.ending
    if ending is Ending.RETURNED:
        return Settlement(done(run, outcome.result))
    if ending is Ending.CANCELLED:
        return Settlement(_row(run, TaskState.CANCELLED, "cancelled", reason=outcome.text))
    if ending is Ending.SNOOZED and (run.task.mode == Mode.AT_LEAST_ONCE or isinstance(outcome.error, NotCalled)):
        return Settlement(_row(run, TaskState.INITIALIZED, "snooze", due_at=now_us + outcome.delay_us, attempt_back=1))
    if ending is Ending.UNDECODABLE:
        return Settlement(
            _row(run, TaskState.INITIALIZED, UNDECODABLE, hold=UNDECODABLE, reason=outcome.text, attempt_back=1)
        )
    if ending is Ending.NOT_STARTED:
        return Settlement(_row(run, TaskState.INITIALIZED, "released", attempt_back=1, due_at=outcome.due_us))
    if ending is Ending.INTERRUPTED or run.interrupt is Interrupt.CANCEL or _gave_up(outcome):
        return _interrupted(outcome, now_us, random)
    return _failed(outcome, now_us, random)


def _gave_up(outcome: Outcome) -> bool:
    """Return whether work raised after it was asked to make room: that is how sync work, and a command, can stop."""
    return outcome.ending is Ending.RAISED and outcome.run.interrupt in MAKING_ROOM


def done(run: Run, result: str | None) -> Finish:
    """Return the row of a run that did its work."""
    return _row(run, TaskState.DONE, "done", result=result)


def release(run: Run, error: str | None = None) -> Finish:
    """Return the row that gives a task back whose run never started, or has surely stopped (T10)."""
    return _row(run, TaskState.INITIALIZED, "released", attempt_back=1, error=error)


def give_back(task_id: str, claim: str) -> Finish:
    """Return the row that gives a task back of which no run was made."""
    return Finish(id=task_id, claim=claim, state=TaskState.INITIALIZED, outcome="released", attempt_back=1)


def _interrupted(outcome: Outcome, now_us: int, random: Random) -> Settlement:
    run = outcome.run
    if run.interrupt is Interrupt.CANCEL:
        return Settlement(_row(run, TaskState.CANCELLED, "cancelled"))
    if run.interrupt in MAKING_ROOM and run.task.mode == Mode.AT_LEAST_ONCE:
        return Settlement(release(run, outcome.text))
    return _failed(outcome, now_us, random)


def _failed(outcome: Outcome, now_us: int, random: Random) -> Settlement:
    run = outcome.run
    delay_us = _retry_delay_us(outcome, random)
    if delay_us is None:
        reason = run.interrupt.value if run.interrupt else None
        row = _row(run, TaskState.FAILED, "failed", reason=reason, error=outcome.text)
        return Settlement(row, failed=True, dead=True)
    row = _row(run, TaskState.INITIALIZED, "retry", due_at=now_us + delay_us, reason="retry", error=outcome.text)
    return Settlement(row, failed=True)


def _retry_delay_us(outcome: Outcome, random: Random) -> int | None:
    """Return how long to wait before the next attempt; None: there is none."""
    run = outcome.run
    if run.task.mode == Mode.AT_MOST_ONCE or run.attempt >= run.max_attempts:
        return None
    if outcome.ending is Ending.RETRY_AFTER:
        return outcome.delay_us
    retry = retry_of(run)
    if retry is None or (outcome.error is not None and not _accepts(retry, outcome)):
        return None
    return retry.delay_us(run.attempt, random)


def _accepts(retry: Retry, outcome: Outcome) -> bool:
    error = TimeoutError() if outcome.run.interrupt is Interrupt.TIMEOUT else outcome.error
    return error is not None and retry.accepts(error)


def retry_of(run: Run) -> Retry | None:
    """Return the retry policy of a run: the task's own numbers, else the declared ones."""
    own = stored_options(run.task.options)
    declared = run.work.declared.retry
    if own.retry is not None:
        return own.retry.onto(declared, run.max_attempts)
    return declared or (Retry(min(run.max_attempts, ATTEMPTS_MAX)) if run.max_attempts > 1 else None)


def _row(
    run: Run,
    state: TaskState,
    outcome: str,
    *,
    due_at: int | None = None,
    attempt_back: int = 0,
    hold: str | None = None,
    reason: str | None = None,
    error: str | None = None,
    result: str | None = None,
) -> Finish:
    return Finish(
        id=run.task.id,
        claim=run.claim,
        state=state,
        outcome=outcome,
        due_at=due_at,
        attempt_back=attempt_back,
        started_at=run.started_us or None,
        hold=hold,
        reason=reason,
        error=error,
        result=result,
        chained=run.task.chained,
    )
