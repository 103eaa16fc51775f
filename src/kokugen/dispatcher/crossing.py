"""What crosses between a node and the process that runs the work: an order there, an account back. All is JSON text.

`order_of` and `concluded` are the node's side, `perform` is the other's. In between the work runs as on a thread of
the node: with `current_run()`, and with every way of ending.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from math import inf, isfinite
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from kokugen.clock import Clock
from kokugen.codec import decode_value
from kokugen.dispatcher.call import RemoteTraceback, call_sync, call_work, error_text
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.dispatcher.reference import Reference
from kokugen.errors import RemoteWorkError, TransactionError, UndecodableError
from kokugen.registry.protocol import Work
from kokugen.repository.rows import Claimed
from kokugen.run import Cancel, NotCalled, RetryAfter, Run, Signal, Snooze

ARGUMENT_MAX = 1024
"""Characters of an argument of an exception; a longer one is cut."""


class Order(Struct, frozen=True, array_like=True):
    """One run, to be performed elsewhere. Without `work` the other side knows the work id."""

    task: Claimed
    claim: str
    start_before_us: int | None
    work: Reference | None = None


class Account(Struct, frozen=True, array_like=True):
    """How it ended. `error` is the class of what the work raised, as `module:name`, `args` its arguments."""

    ending: Ending
    started_us: int
    result: str | None = None
    text: str | None = None
    delay_us: int = 0
    error: str | None = None
    args: tuple[str | int | float | bool | None, ...] = ()


def order_of(run: Run, work: Reference | None = None) -> Order:
    """Return the order to perform this run."""
    task = msgspec.convert(run.task, Claimed, from_attributes=True)
    return Order(task, run.claim, run.start_before_us, work)


def concluded(run: Run, account: Account) -> Any:
    """Return what the work returned, as a plain value, or raise what it raised: as if it had been called here.

    Of an exception whose class is not loaded here, or that is made of more than plain values, it raises
    RemoteWorkError.
    """
    run.started_us = max(run.started_us, account.started_us)
    text, delay = account.text or "", timedelta(microseconds=account.delay_us)
    match account.ending:
        case Ending.RETURNED:
            return None if account.result is None else decode_value(account.result)
        case Ending.NOT_STARTED:
            raise NotCalled(timedelta(0), text)
        case Ending.RETRY_AFTER:
            raise RetryAfter(delay, text)
        case Ending.SNOOZED:
            raise Snooze(delay, text)
        case Ending.CANCELLED:
            raise Cancel(text)
        case Ending.UNDECODABLE:
            raise UndecodableError(text)
        case _:
            raise _rebuilt(account) from RemoteTraceback(text)


def _rebuilt(account: Account) -> BaseException:
    """Return the exception by its class and plain arguments; nothing of the class's own runs for that."""
    kind = _class_of(account.error or "")
    if kind is None:
        return _unknown(account)
    try:
        error = kind.__new__(kind, *account.args)
    except Exception:  # noqa: BLE001 - it needs arguments that are not plain
        return _unknown(account)
    error.args = account.args
    return error


def _unknown(account: Account) -> RemoteWorkError:
    return RemoteWorkError(account.error or "", account.text or "")


def _class_of(told: str) -> type[BaseException] | None:
    """Return the exception class called `module:name`, of a module that is loaded here."""
    module, _, name = told.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


# -- Where the work runs


def perform(
    order: Order, load: Callable[[], Work], clock: Clock, *, stopping: Signal, begun: Callable[[Run], object]
) -> Account:
    """Run the work and return how it ended; nothing is raised. `begun(run)` is called before the work is."""
    try:
        work = load()
    except Exception as error:  # noqa: BLE001 - its module may raise anything
        return _account_of_error(Ending.RAISED, 0, error, error_text(error))
    run = Run(order.task, order.claim, work, stopping=stopping, trusted_until_s=inf, not_before_us=0)
    run.start_before_us, run.completer = order.start_before_us, _refuse_to_complete
    begun(run)
    return account_of(call_sync(run, call_work, clock))


def account_of(outcome: Outcome) -> Account:
    """Return what is told of an outcome."""
    ending, started_us = outcome.ending, outcome.run.started_us
    if ending in (Ending.RAISED, Ending.INTERRUPTED) and outcome.error is not None:
        return _account_of_error(ending, started_us, outcome.error, outcome.text)
    return Account(ending, started_us, outcome.result, outcome.text, outcome.delay_us)


def _account_of_error(ending: Ending, started_us: int, error: BaseException, text: str | None) -> Account:
    kind = f"{type(error).__module__}:{type(error).__qualname__}"
    return Account(ending, started_us, text=text, error=kind, args=tuple(map(_plain, error.args)))


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, int) and value.bit_length() < 64:
        return value
    try:
        return (value if isinstance(value, str) else repr(value))[:ARGUMENT_MAX]
    except Exception:  # noqa: BLE001 - by its own method's fault
        return type(value).__name__


def _refuse_to_complete(run: Run, _connection: object, _result: object) -> NoReturn:
    raise TransactionError(f"{run!r} is not in the process of its scheduler, and completes itself there alone")
