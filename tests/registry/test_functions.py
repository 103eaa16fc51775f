"""A function declared as work stays a function, and has an id that is its alone."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from kokugen.errors import DuplicateWorkError, KokugenError, OptionError
from kokugen.options import Options
from kokugen.registry import protocol
from kokugen.registry.functions import AsyncWork, FunctionRegistry, SyncWork, Work, as_work
from kokugen.registry.work import make_work
from kokugen.retry import Retry
from kokugen.task import Mode, Priority


def greet(who: str, text: str = "Hello") -> str:
    """Say something."""
    return f"{who}: {text}"


async def fetch(number: int) -> int:
    return number + 1


class Desk:
    def __init__(self, name: str) -> None:
        self.name = name

    def ring(self, times: int) -> str:
        return f"{self.name} {times}"

    @staticmethod
    def bell() -> str:
        return "bell"

    async def __call__(self) -> str:
        return self.name


@pytest.fixture
def works() -> FunctionRegistry:
    return FunctionRegistry()


# -- Declaring


def test_work_is_called_as_the_function_it_was(works: FunctionRegistry) -> None:
    work = works.work(greet)
    assert work("Ann", text="Tea!") == "Ann: Tea!"
    assert (work.fn, work.__wrapped__, work.__name__, work.__doc__) == (greet, greet, "greet", "Say something.")
    assert inspect.signature(work) == inspect.signature(greet)


async def test_async_work_is_awaited_as_the_function_it_was(works: FunctionRegistry) -> None:
    assert await works.work(fetch)(1) == 2


def test_sync_and_async_work_are_told_apart(works: FunctionRegistry) -> None:
    plain, waiting = works.work(greet), works.work(fetch)
    assert isinstance(plain, SyncWork)
    assert isinstance(waiting, AsyncWork)
    assert (plain.is_async, waiting.is_async) == (False, True)


def test_work_keeps_the_contract_of_the_engine(works: FunctionRegistry) -> None:
    assert isinstance(works.work(greet), protocol.Work)
    assert isinstance(works, protocol.ListedWorkRegistry)


def test_the_work_id_is_the_functions_name_or_what_is_given(works: FunctionRegistry) -> None:
    assert works.work(greet).id == "greet"
    assert works.work(id="mail.greet")(greet).id == "mail.greet"


def test_a_function_inside_another_goes_by_its_name_too(works: FunctionRegistry) -> None:
    @works.work
    def inside() -> None: ...

    assert works.load("inside") is inside


def test_options_are_declared_with_the_work(works: FunctionRegistry) -> None:
    work = works.work(queue="mail", priority=2, retry=Retry(3), timeout=timedelta(seconds=5))(greet)
    assert work.declared == Options(queue="mail", priority=Priority.HIGH, retry=Retry(3), timeout=timedelta(seconds=5))


@pytest.mark.parametrize("bad", [{"priority": 9}, {"mode": "never"}, {"name": "x"}, {"queue": "a b"}])
def test_an_option_that_is_not_allowed_is_refused_at_declaration(works: FunctionRegistry, bad: Any) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        works.work(**bad)(greet)
    assert len(works) == 0


def test_options_of_one_task_leave_the_work_as_it_was(works: FunctionRegistry) -> None:
    work = works.work(queue="mail")(greet)
    once = work.options(unique="ann", mode="at_most_once")
    assert (once.declared.unique, once.declared.mode, once.declared.queue) == ("ann", Mode.AT_MOST_ONCE, "mail")
    assert (once.id, once.fn, once("Bob")) == (work.id, work.fn, "Bob: Hello")
    assert work.declared == Options(queue="mail")
    assert works.load("greet") is work


def test_work_copies_share_one_look_at_the_signature(works: FunctionRegistry) -> None:
    work = works.work(greet)
    assert work.options(priority=1).signature() is work.signature()


# -- What cannot be declared


@pytest.mark.parametrize("fn", [lambda: None, partial(greet, "Ann"), Desk("a")], ids=["lambda", "partial", "object"])
def test_a_callable_without_a_lasting_name_needs_an_id(works: FunctionRegistry, fn: Any) -> None:
    with pytest.raises(OptionError, match="id="):
        works.work(fn)
    assert works.work(id="named")(fn).id == "named"


def yields() -> Iterator[int]:
    yield 1


async def yields_async() -> Any:
    yield 1


@pytest.mark.parametrize("fn", [yields, yields_async])
def test_a_function_that_yields_is_refused(works: FunctionRegistry, fn: Any) -> None:
    with pytest.raises(OptionError, match="yields"):
        works.work(fn)


@pytest.mark.parametrize("thing", [5, classmethod(lambda cls: None)])
def test_what_cannot_be_called_is_refused(works: FunctionRegistry, thing: Any) -> None:
    with pytest.raises(OptionError, match="function"):
        works.work(id="x")(thing)


@pytest.mark.parametrize("bad", ["", "a b", "x" * 201, "ä"])
def test_a_work_id_that_is_not_allowed_is_refused(works: FunctionRegistry, bad: str) -> None:
    with pytest.raises(OptionError, match="work id"):
        works.work(id=bad)(greet)


def test_an_id_that_is_taken_is_refused_and_the_first_place_named(works: FunctionRegistry) -> None:
    first = works.work(greet)
    line = greet.__code__.co_firstlineno
    with pytest.raises(DuplicateWorkError, match=rf"'greet'.*test_functions\.py:{line}"):
        works.work(id="greet")(fetch)
    assert works.load("greet") is first


@pytest.mark.parametrize("aliases", [("greet",), ("new", "greet"), ("new", "new"), ("other",)])
def test_an_alias_that_is_taken_is_refused_and_nothing_is_declared(
    works: FunctionRegistry, aliases: tuple[str, ...]
) -> None:
    works.work(greet)
    with pytest.raises(DuplicateWorkError):
        works.work(id="other", aliases=aliases)(fetch)
    assert works.work_ids() == {"greet"}


# -- Methods


def test_a_method_is_declared_in_its_class_and_still_a_method(works: FunctionRegistry) -> None:
    class Shop:
        name = "shop"

        @works.work(id="sell")
        def sell(self, what: str) -> str:
            return f"{self.name} {what}"

        @works.work(id="close")
        @staticmethod
        async def close() -> int:
            return 1

    assert Shop().sell("tea") == "shop tea"
    assert Shop.sell is works.load("sell")
    assert Shop.close.is_async


def test_a_bound_method_is_work_under_its_name(works: FunctionRegistry) -> None:
    work: SyncWork[[int], str] = works.work(Desk("desk").ring)
    assert (work.id, work(2)) == ("ring", "desk 2")
    assert work.call(*work.decode(work.encode((3,), {}))) == "desk 3"


def test_an_object_with_an_async_call_is_async_work(works: FunctionRegistry) -> None:
    assert works.work(id="desk")(Desk("a")).is_async


# -- Looking up


def test_a_registry_knows_its_work_by_id_and_alias(works: FunctionRegistry) -> None:
    work = works.work(aliases=("hello", "old.greet"))(greet)
    other = works.work(fetch)
    assert [works.load(name) for name in ("greet", "hello", "old.greet", "fetch", "no")] == [work] * 3 + [other, None]
    assert works.work_ids() == {"greet", "hello", "old.greet", "fetch"}
    assert ("hello" in works, "no" in works, len(works), list(works)) == (True, False, 2, [work, other])


def test_work_made_elsewhere_can_be_added(works: FunctionRegistry) -> None:
    work = works.add(make_work("a", greet), aliases=["b"])
    assert works.load("b") is work


# -- Plain callables of other registries


def test_a_plain_callable_becomes_work_once() -> None:
    work = as_work("hello", greet)
    assert isinstance(work, SyncWork)
    assert (work.id, work.call(("Ann",), {})) == ("hello", "Ann: Hello")
    assert as_work("hello", greet) is work
    assert as_work("other", greet) is not work


def test_work_is_left_as_it_is(works: FunctionRegistry) -> None:
    work = works.work(greet)
    assert as_work("another name", work) is work


def test_a_callable_that_cannot_be_hashed_becomes_work_too() -> None:
    class Odd(dict[str, int]):
        def __call__(self) -> int:
            return 7

    assert as_work("odd", Odd()).call((), {}) == 7


# -- Calling


def test_a_function_that_hands_back_a_coroutine_is_not_taken_for_done(works: FunctionRegistry) -> None:
    work = works.work(id="x")(lambda: fetch(1))
    with pytest.raises(KokugenError, match="async def"):
        work.call((), {})


def test_generic_work_may_be_annotated() -> None:
    def takes(work: Work[[str], str]) -> str:
        return work.id

    works = FunctionRegistry()

    @works.work(id="one")
    def one(text: str) -> str:
        return text

    assert takes(one) == "one"
