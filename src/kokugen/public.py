"""The public names, and where they live. `kokugen` hands them out; nothing else imports this."""

from __future__ import annotations

from kokugen.async_scheduler import AsyncScheduler
from kokugen.dispatcher.processes import Processes
from kokugen.errors import KokugenError
from kokugen.handle import AsyncTaskHandle, TaskHandle
from kokugen.middleware.base import Middleware
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import After, Every
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.work import Work
from kokugen.retry import Retry
from kokugen.run import Cancel, RetryAfter, Run, Snooze, current_run
from kokugen.scheduler import Scheduler
from kokugen.schedules.info import ScheduleInfo
from kokugen.schedules.occurrences import Occurrence
from kokugen.settings import Settings
from kokugen.task import Mode, Params, Priority, TaskInfo, TaskParam, TaskState
from kokugen.then import Then
from kokugen.within import AsyncTransaction, Transaction

__all__ = [
    "After",
    "AsyncScheduler",
    "AsyncTaskHandle",
    "AsyncTransaction",
    "Cancel",
    "Cron",
    "Every",
    "FunctionRegistry",
    "KokugenError",
    "Middleware",
    "Mode",
    "Occurrence",
    "Params",
    "Priority",
    "Processes",
    "Retry",
    "RetryAfter",
    "Run",
    "ScheduleInfo",
    "Scheduler",
    "Settings",
    "Snooze",
    "TaskHandle",
    "TaskInfo",
    "TaskParam",
    "TaskState",
    "Then",
    "Transaction",
    "Work",
    "current_run",
]
