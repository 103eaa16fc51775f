"""Every error kokugen raises: one tree under `KokugenError`.

Each class also inherits the builtin that a caller would expect (`LookupError`, `ValueError`, …). The values that a
handler may want ride as attributes; the message says what was tried, why it was refused and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from kokugen.task import TaskState


class KokugenError(Exception):
    """The root: `except KokugenError` catches whatever kokugen itself raises, and nothing that your work raises."""


class NoEntryError(KokugenError, LookupError):
    """There is no task with this id (the seed's `ErrNoEnt`)."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"there is no task {task_id!r} in this store: it was never added, or it is past retention")
        self.task_id = task_id


class InvalidEntryError(KokugenError, ValueError):
    """What was to be stored, or what is stored, is not a valid task (the seed's `ErrInvalidEnt`)."""


class NotUpdatableStateError(KokugenError, ValueError):
    """The task's state does not allow the change; nothing was changed (the seed's `ErrNotUpdatableState`)."""

    def __init__(self, task_id: str, state: TaskState, tried: str) -> None:
        super().__init__(f"task {task_id} is {state.label}, so it cannot be {tried}")
        self.task_id = task_id
        self.state = state


class StaleRevisionError(KokugenError, ValueError):
    """The task was changed by someone else since it was read: read it again, then decide."""

    def __init__(self, task_id: str, rev: int, expected: int) -> None:
        super().__init__(
            f"task {task_id} is at revision {rev}, not {expected}: it was changed meanwhile; read it again"
        )
        self.task_id = task_id
        self.rev = rev
        self.expected = expected


class NoScheduleError(KokugenError, LookupError):
    """There is no schedule of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name!r} in this store: `kokugen schedules` lists those that there are")
        self.name = name


class ScheduleConflictError(KokugenError, ValueError):
    """The schedule was changed by someone else since it was read: read it again, then decide."""

    def __init__(self, name: str, edition: int | None = None, expected: int | None = None) -> None:
        told = "changes all the time" if edition is None else f"is at edition {edition}, not {expected}"
        super().__init__(f"schedule {name!r} {told}: it was changed meanwhile; read it again")
        self.name = name
        self.edition = edition
        self.expected = expected


class DuplicateTaskError(KokugenError, ValueError):
    """A live task already has this unique key; `existing_id` names it. Nothing was added."""

    def __init__(self, unique_key: str, existing_id: str) -> None:
        super().__init__(f"unique key {unique_key!r} is taken by the live task {existing_id}: nothing was added")
        self.unique_key = unique_key
        self.existing_id = existing_id


class NonexistentWorkIdError(KokugenError, LookupError):
    """No work with this id is declared here (the seed's `ErrNonexistentWorkId`)."""

    def __init__(self, work_id: str, hint: str = "declare it with @scheduler.work, or add it to the registry") -> None:
        super().__init__(f"no work {work_id!r} is declared here: {hint}")
        self.work_id = work_id


class DuplicateWorkError(KokugenError, ValueError):
    """A work id or alias is declared twice."""


class WorkArgumentsError(KokugenError, TypeError):
    """The arguments do not fit the work's signature, or cannot be written down; nothing was scheduled."""


class TriggerError(KokugenError, ValueError):
    """A trigger or calendar cannot be what it was to be: the message says which part, and what is allowed."""


class CronExpressionError(TriggerError):
    """A cron expression is not valid: `expression`, `column` (from 1) and `allowed` say where and what could stand."""

    def __init__(self, expression: str, column: int, problem: str, allowed: str) -> None:
        super().__init__(f"cron expression {expression!r}, column {column}: {problem}; {allowed}")
        self.expression = expression
        self.column = column
        self.problem = problem
        self.allowed = allowed


class UnknownCalendarError(TriggerError, LookupError):
    """A trigger names a calendar that it was not given: `bind` it to one of this name first."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no calendar {name!r} here: give it with scheduler.add_calendar({name!r}, …) or trigger.bind(…), "
            "and to `kokugen` with --app MODULE:SCHEDULER"
        )
        self.name = name


class CodecError(KokugenError, ValueError):
    """A value cannot be encoded or decoded: the message names the path and the reason."""


class UndecodableError(CodecError):
    """The stored arguments cannot be read by the work that is declared here: it was not called, the task is kept."""


class SealError(CodecError):
    """What is stored was not sealed here, was changed, or was moved from another task: it is not read."""


class LimitExceededError(CodecError):
    """A value is larger than its documented limit; nothing was stored."""


class CommandRefusedError(KokugenError, PermissionError):
    """A command, or an argument of one, is not on the allow-list of its registry. Commands are denied by default."""


class CommandFailedError(KokugenError, RuntimeError):
    """A command ended with another exit status than 0; `returncode` and the tail of its output ride along."""

    def __init__(self, work_id: str, returncode: int, output: str) -> None:
        super().__init__(f"command {work_id!r} ended with exit status {returncode}: {output.strip()[-500:]}")
        self.work_id = work_id
        self.returncode = returncode
        self.output = output


class OptionError(KokugenError, ValueError):
    """An option or setting has a value that is not allowed; the message names it and says what is."""


class ScheduledTimeError(KokugenError, ValueError):
    """A time cannot be used: it is naive, does not exist in its zone, or is outside the years that are kept."""


class MiddlewareOrderError(KokugenError, RuntimeError):
    """Middleware is in an order, or on a kind of work, that it does not fit (the seed's `ErrMiddlewareOrder`)."""


class DeadlineExceededError(KokugenError, TimeoutError):
    """The work would have started too late, so it was not called (the seed's `DeadlineExeededErr`)."""

    def __init__(self, due_at: datetime, started_at: datetime, within: timedelta) -> None:
        late = started_at - due_at
        super().__init__(f"due at {due_at.isoformat()}, it would have started {late} late: {within} is allowed")
        self.due_at = due_at
        self.started_at = started_at
        self.within = within


class RecoveredError(KokugenError, RuntimeError):
    """Work raised what it should not have, such as SystemExit; `original` is that (the seed's `RecoveredError`)."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(f"the work raised {type(original).__name__}: {original}")
        self.original = original


class WorkerDiedError(KokugenError, RuntimeError):
    """The process that ran the work ended, or was killed, before the work was over. No other run is touched by it."""


class RemoteWorkError(KokugenError, RuntimeError):
    """Work that ran in another process raised an exception that cannot be made here; `kind` names its class."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind.replace(':', '.')}: {text.strip().rpartition(chr(10))[2]}")
        self.kind = kind
        self.text = text


class OtherNodeWorkingError(KokugenError, RuntimeError):
    """Another node claimed the task first (the seed's `ErrOtherNodeWorkingOnTheTask`)."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"another node is already working on task {task_id}")
        self.task_id = task_id


class ExternalStateChangeError(KokugenError, RuntimeError):
    """The reason of a cancellation: the task's state was changed in the repository by someone else."""

    def __init__(self, task_id: str, state: TaskState) -> None:
        super().__init__(f"the state of task {task_id} was changed externally, to {state.label}")
        self.task_id = task_id
        self.state = state


class LeaseLostError(KokugenError, RuntimeError):
    """This node may no longer trust its claim on the run: another node may have taken it over."""


class NoRunError(KokugenError, LookupError):
    """The code is part of no run: kokugen did not call it, or it is on a thread of its own."""


class SupersededError(KokugenError, RuntimeError):
    """This attempt does not hold its task any more, so it cannot complete it: nothing was written, roll back."""

    def __init__(self, task_id: str, fence: int) -> None:
        super().__init__(
            f"the run of task {task_id} with fence {fence} cannot complete it: the task was taken over by another run, "
            "or has ended; roll your transaction back"
        )
        self.task_id = task_id
        self.fence = fence


class TransactionError(KokugenError, ValueError):
    """A connection cannot be written in: another library or database, or no open transaction. Nothing was written."""


class RepositoryError(KokugenError, RuntimeError):
    """The store refused or failed; the message says what was tried and what the store said."""


class RepositoryUnavailableError(RepositoryError, ConnectionError):
    """The store cannot be reached or written just now (locked, full, read-only, closed): try again later."""


class SchemaVersionError(RepositoryError):
    """The store's schema is older or newer than this version of kokugen can use."""


class UnknownOutcomeError(RepositoryError, TimeoutError):
    """A write was not answered in time: it may or may not have happened. Repeating it with the same id is safe."""

    def __init__(self, what: str, task_ids: tuple[str, ...] = ()) -> None:
        named = f" (task {', '.join(task_ids[:3])}{', …' if len(task_ids) > 3 else ''})" if task_ids else ""
        super().__init__(f"{what}{named} was not answered in time: it may have happened; repeat it with the same id")
        self.task_ids = task_ids


class SchedulerStateError(KokugenError, RuntimeError):
    """The scheduler is stopped, already running, or used in a way that its state does not allow."""


class TaskFailedError(KokugenError, RuntimeError):
    """`result()` of a task that ended without one: Failed or Cancelled. `state`, `reason` and `error` ride along."""

    def __init__(self, task_id: str, state: TaskState, reason: str | None, error: str | None) -> None:
        last = (error or reason or "no reason recorded").strip().splitlines()[-1]
        super().__init__(f"task {task_id} ended {state.label}: {last}")
        self.task_id = task_id
        self.state = state
        self.reason = reason
        self.error = error


class DeadlockError(KokugenError, RuntimeError):
    """Virtual time stands still: every coroutine waits, and no timer is set that could end the wait."""


class WaitTimeoutError(KokugenError, TimeoutError):
    """The task was not over when the time to wait was."""
