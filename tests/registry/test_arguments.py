"""Arguments are checked when scheduling, come back as their types when running, and outlive the signature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict
from uuid import UUID

import msgspec
import pytest

from kokugen.codec import PARAM_MAX
from kokugen.errors import CodecError, LimitExceededError, WorkArgumentsError
from kokugen.registry.work import Work, make_work

if TYPE_CHECKING:
    from kokugen.clock import Clock


class Size(Enum):
    SMALL = "s"


class Extra(TypedDict, total=False):
    loud: bool


class Point(msgspec.Struct):
    x: int
    y: int = 0


def work(fn: Callable[..., Any]) -> Work[..., Any]:
    return make_work("it", fn)


def back(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the work is called with after these arguments were stored."""
    it = work(fn)
    return it.decode(it.encode(args, kwargs))


NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)
ID = UUID("01a20d0f-cec7-7ea3-8916-7d2863410e7c")


# -- When scheduling


def plain(who: str, text: str = "hi", *, times: int = 1) -> None: ...
def only_positional(a: int, b: int = 2, /, c: int = 3) -> None: ...
def any_positional(a: int, *rest: int, tag: str = "t") -> None: ...
def any_named(a: int, **extra: int) -> None: ...
def required_named(*, a: int, b: int = 2) -> None: ...
def nothing() -> None: ...
def slash_and_extra(a: int, /, **extra: int) -> None: ...


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (plain, ("a",), {}),
        (plain, ("a", "b"), {"times": 2}),
        (plain, (), {"who": "a", "text": "b"}),
        (only_positional, (1,), {}),
        (only_positional, (1, 2, 3), {}),
        (only_positional, (1,), {"c": 3}),
        (any_positional, (1, 2, 3, 4), {"tag": "x"}),
        (any_positional, (), {"a": 1}),
        (any_named, (1,), {"b": 2, "c": 3}),
        (required_named, (), {"a": 1}),
        (nothing, (), {}),
        (slash_and_extra, (1,), {"a": 2}),
    ],
)
def test_arguments_that_fit_come_back(fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
    assert back(fn, *args, **kwargs) == (args, kwargs)


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "reason"),
    [
        (plain, (), {}, "missing a required argument: 'who'"),
        (plain, (), {"text": "a"}, "missing a required argument: 'who'"),
        (plain, ("a", "b", "c"), {}, "too many positional"),
        (plain, ("a",), {"who": "b"}, "multiple values for argument 'who'"),
        (plain, ("a",), {"wo": "b"}, "unexpected keyword argument 'wo'"),
        (only_positional, (), {"a": 1}, "'a'"),
        (only_positional, (1,), {"b": 1}, "'b'"),
        (any_positional, (1, 2), {"a": 1}, "multiple values"),
        (any_named, (1, 2), {}, "too many positional"),
        (required_named, (), {"b": 1}, "missing a required"),
        (required_named, (1,), {}, "too many positional"),
        (nothing, (1,), {}, "too many positional"),
        (slash_and_extra, (), {"a": 1}, "cannot be scheduled"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(fn: Callable[..., Any], args: Any, kwargs: Any, reason: str) -> None:
    with pytest.raises(WorkArgumentsError, match=reason):
        work(fn).encode(args, kwargs)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((5,), r"\$\.args\[0\].*`str`.*`int`"),
        ((object(),), "object"),
        (("a", None), r"\$\.args\[1\]"),
        (("\ud800",), "surrogates"),
    ],
)
def test_values_of_another_type_are_refused_when_scheduling(args: Any, reason: str) -> None:
    with pytest.raises(WorkArgumentsError, match=reason):
        work(plain).encode(args, {})


def test_a_refusal_says_what_the_work_takes() -> None:
    with pytest.raises(WorkArgumentsError, match=r"work 'it'.*\(who: .*times: .*= 1\)"):
        work(plain).encode((), {})


def test_arguments_that_are_too_large_are_refused_as_such() -> None:
    with pytest.raises(LimitExceededError):
        work(plain).encode(("a" * PARAM_MAX,), {})


# -- When running


@dataclass
class Order:
    id: UUID
    at: datetime
    price: Decimal


def typed(
    order: Order, size: Size, where: Path | None, span: timedelta, points: list[Point], extra: Extra, z: complex
) -> None: ...


def test_arguments_come_back_as_their_annotated_types() -> None:
    args = (
        Order(ID, NOON, Decimal("1.10")),
        Size.SMALL,
        Path("/a"),
        timedelta(1),
        [Point(1, 2)],
        Extra(loud=True),
        1j,
    )
    assert back(typed, *args) == (args, {})


def test_variadic_arguments_come_back_as_their_annotated_types() -> None:
    def fn(*when: datetime, **who: UUID) -> None: ...

    assert back(fn, NOON, NOON, ann=ID) == ((NOON, NOON), {"ann": ID})


def test_without_annotations_arguments_come_back_plain() -> None:
    def fn(a, *rest, **extra):  # type: ignore[no-untyped-def]
        ...

    assert back(fn, (1, 2), ID, b=Point(1)) == (([1, 2], str(ID)), {"b": {"x": 1, "y": 0}})


def test_constraints_of_an_annotation_hold_when_scheduling() -> None:
    def fn(n: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...

    with pytest.raises(WorkArgumentsError, match=">= 1"):
        work(fn).encode((0,), {})


def test_an_annotation_may_name_what_is_defined_after_the_work() -> None:
    it = work(takes_later)
    assert it.decode(it.encode((Later(5),), {})) == ((Later(5),), {})


def takes_later(it: Later) -> Later:
    return it


class Later(msgspec.Struct):
    number: int


def unknown_type(clock: Clock, number: int = 1) -> Clock | None:
    return None


def test_an_annotation_unknown_at_run_time_refuses_its_argument_with_the_way_out() -> None:
    with pytest.raises(WorkArgumentsError, match=r"'Clock' is not known.*TYPE_CHECKING"):
        work(unknown_type).encode((1,), {})


def unreadable(when: datetime, callback: Callable[[], None] | int | None = None) -> None: ...


def test_a_type_that_cannot_be_read_matters_only_where_it_is_given() -> None:
    assert back(unreadable, NOON) == ((NOON,), {})
    with pytest.raises(WorkArgumentsError, match="callback"):
        work(unreadable).encode((NOON,), {"callback": 5})


def test_an_iterable_parameter_takes_a_list() -> None:
    def fn(numbers: Iterable[int]) -> None: ...

    assert back(fn, [1, 2]) == (([1, 2],), {})


def test_the_signature_of_a_wrapped_function_counts() -> None:
    @wraps(takes_later)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return takes_later(*args, **kwargs)

    assert back(wrapper, Later(1)) == ((Later(1),), {})


def test_a_partial_and_an_object_are_read_by_what_they_take() -> None:
    class Caller:
        def __call__(self, when: datetime) -> None: ...

    assert back(partial(unreadable, callback=None), NOON) == ((NOON,), {})
    assert back(Caller(), NOON) == ((NOON,), {})


def test_a_builtin_without_a_signature_takes_what_is_given() -> None:
    assert back(max, 1, 2) == ((1, 2), {})


# -- Stored arguments outlive signatures


STORED = '{"args":["Ann"],"kwargs":{"times":3}}'


def test_a_parameter_that_is_new_takes_its_default() -> None:
    def newer(who: str, text: str = "new", *, times: int, loud: bool = True) -> Any:
        return who, text, times, loud

    it = work(newer)
    assert it.call(*it.decode(STORED)) == ("Ann", "new", 3, True)


def test_a_default_that_changed_is_todays() -> None:
    def newer(who: str = "Bob") -> str:
        return who

    it = work(newer)
    assert it.call(*it.decode("{}")) == "Bob"


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        (STORED, "unexpected keyword argument 'times'"),
        ('{"args":["a","b"]}', "too many positional"),
        ("{}", "missing a required argument: 'who'"),
        ('{"args":[5]}', r"\$\.args\[0\]: Expected `str`, got `int`"),
        ('{"kwargs":{"who":null}}', r"\$\.kwargs\.who: Expected `str`, got `null`"),
        ('{"args":["a"],"more":1}', "unknown field `more`"),
        ("[]", "Expected `object`"),
        ("", "truncated"),
        ('{"args":[' + "[" * 100 + "]" * 100 + "]}", "deep"),
    ],
)
def test_stored_arguments_that_cannot_be_passed_are_refused_with_the_reason(param: str, reason: str) -> None:
    def fn(who: str) -> None: ...

    with pytest.raises(CodecError, match=reason):
        work(fn).decode(param)


def test_a_stored_value_is_refused_with_its_path_inside() -> None:
    def fn(order: Order) -> None: ...

    stored = '{"args":[{"id":"x","at":"2026-01-01T00:00:00Z","price":"1"}]}'
    with pytest.raises(CodecError, match=r"\$\.args\[0\]: .*\(at \$\.args\[0\]\.id\)"):
        work(fn).decode(stored)


# -- Results


async def promised() -> list[datetime]:
    return [NOON]


def test_a_result_comes_back_as_its_annotated_type() -> None:
    it = work(promised)
    result = asyncio.run(it.call((), {}))
    assert it.decode_result(it.encode_result(result)) == [NOON]


def test_no_result_takes_no_text() -> None:
    it = work(nothing)
    assert (it.encode_result(None), it.decode_result(None)) == (None, None)


@pytest.mark.parametrize("fn", [unknown_type, lambda: None])
def test_a_result_whose_type_says_nothing_comes_back_plain(fn: Callable[..., Any]) -> None:
    it = work(fn)
    assert it.decode_result(it.encode_result({"at": NOON})) == {"at": "2026-12-24T12:00:00Z"}


def test_a_result_that_is_no_data_or_too_large_is_refused() -> None:
    with pytest.raises(CodecError, match="object"):
        work(nothing).encode_result(object())
    with pytest.raises(LimitExceededError, match="65,536"):
        work(nothing).encode_result("a" * 70_000)
