"""Never run: what a type checker must accept, and what it must refuse, of declared work.

A refused line is marked with the error that it gives; an ignore that is not needed any more is an error itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, assert_type

from kokugen.registry import protocol
from kokugen.registry.commands import CommandRegistry
from kokugen.registry.functions import AsyncWork, FunctionRegistry, SyncWork, Work
from kokugen.registry.params import ParamWork, param_work
from kokugen.registry.prefix import PrefixRegistry
from kokugen.retry import Retry
from kokugen.run import Signal

P = ParamSpec("P")
R = TypeVar("R")

works = FunctionRegistry()


def at(when: datetime, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Stand in for `Scheduler.at`: what a result would be."""
    raise NotImplementedError


@works.work
def remind(who: str, text: str = "", *, times: int = 1) -> bytes:
    return b""


@works.work(id="later", aliases=("old",), queue="mail", priority=2, retry=Retry(3), timeout=timedelta(minutes=1))
async def fetch(number: int) -> list[str]:
    return []


# What declaring gives

assert_type(works.work(len)([1]), int)
assert_type(remind("Ann", times=2), bytes)
coroutine: Coroutine[Any, Any, list[str]] = fetch(1)
as_sync: SyncWork[..., bytes] = remind
as_async: AsyncWork[[int], list[str]] = fetch
as_protocol: protocol.Work = remind
as_registry: protocol.ListedWorkRegistry = works
as_registry = CommandRegistry()
as_plain_registry: protocol.WorkRegistry = PrefixRegistry({"a.": works, "b.": CommandRegistry()})
not_async: AsyncWork[..., bytes] = remind  # type: ignore[assignment]
not_sync: SyncWork[[int], Any] = fetch  # type: ignore[assignment]


async def awaits() -> None:
    assert_type(await fetch(1), list[str])
    await fetch("1")  # type: ignore[arg-type]


# Calling and scheduling


def schedules(noon: datetime) -> None:
    assert_type(at(noon, remind, "Ann", text="Tea!", times=2), bytes)
    assert_type(at(noon, fetch, 1), list[str])
    assert_type(at(noon, remind.options(unique="ann", priority=3), "Ann"), bytes)
    at(noon, remind)  # type: ignore[call-arg]
    at(noon, remind, 5)  # type: ignore[arg-type]
    at(noon, remind, "Ann", txt="Tea!")  # type: ignore[call-arg]
    at(noon, remind, "Ann", "Tea!", 2)  # type: ignore[call-arg]
    at(noon, fetch, "1")  # type: ignore[arg-type]
    at(noon, fetch.options(mode="at_most_once"), number="1")  # type: ignore[arg-type]
    at(noon, print, "Ann")  # type: ignore[arg-type]
    remind(5)  # type: ignore[arg-type]


# Options

remind.options(retry=None, tags=("a",), id="01", start_within=timedelta(1), max_lost=1)
remind.options(prio=1)  # type: ignore[call-arg]
remind.options(priority="high")  # type: ignore[arg-type]
remind.options(mode="sometimes")  # type: ignore[arg-type]
works.work(timeout=5)  # type: ignore[call-overload]
works.work(name="x")  # type: ignore[call-overload]
works.work(5)  # type: ignore[call-overload]


# Methods


class Shop:
    @works.work
    def sell(self, what: str) -> int:
        return 1


def sells(noon: datetime) -> None:
    at(noon, Shop.sell, Shop(), "tea")
    at(noon, Shop.sell, Shop(), 5)  # type: ignore[arg-type]


# The seed's form


def send(cancelled: Signal, stopping: Signal, scheduled_time: datetime, param: list[int]) -> str:
    return ""


async def send_async(cancelled: Signal, stopping: Signal, scheduled_time: datetime, param: bytes) -> float:
    return 1.0


def tick(cancelled: Signal, stopping: Signal, scheduled_time: datetime) -> complex:
    return 1j


def seeds(noon: datetime, other: Callable[[int], int]) -> None:
    assert_type(param_work(send), ParamWork[[list[int]], str])
    assert_type(at(noon, param_work(send), [1]), str)
    assert_type(at(noon, param_work(send_async, "id"), b""), float)
    assert_type(at(noon, param_work(tick)), complex)
    at(noon, param_work(send), ["a"])  # type: ignore[list-item]
    at(noon, param_work(tick), 1)  # type: ignore[call-arg]
    param_work(other)  # type: ignore[arg-type]
