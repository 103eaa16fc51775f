"""Functions of the seed's form run as work: with their run's signals and time, and a param of its type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from kokugen.clock import to_us
from kokugen.codec import encode_params
from kokugen.errors import CodecError, NoRunError, OptionError, WorkArgumentsError
from kokugen.options import Options
from kokugen.registry import protocol
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.params import ParamWork, param_work
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal, bind_run, unbind_run
from kokugen.task import Params

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)


@dataclass
class Mail:
    to: str
    at: datetime | None = None


def send(cancelled: Signal, stopping: Signal, scheduled_time: datetime, param: Mail) -> tuple[Any, ...]:
    return bool(cancelled), bool(stopping), scheduled_time, param


async def send_later(cancelled: Signal, stopping: Signal, scheduled_time: datetime, param: Any) -> Any:
    return param


def tick(cancelled: Signal, stopping: Signal, scheduled_time: datetime) -> datetime:
    return scheduled_time


@pytest.fixture
def run() -> Iterator[Run]:
    work = param_work(tick)
    task = Claimed(
        id="a",
        work_id="send",
        param="{}",
        queue="default",
        mode=0,
        scheduled_time=to_us(NOON),
        due_at=to_us(NOON),
        attempt=1,
        max_attempts=1,
        lost=0,
        max_lost=3,
        fence=1,
        tags=None,
        options=None,
    )
    run = Run(task, "nonce", work, stopping=Signal(), trusted_until_s=0.0, not_before_us=0)
    token = bind_run(run)
    yield run
    unbind_run(token)


def called(work: ParamWork[Any, Any], param: str) -> Any:
    return work.call(*work.decode(param))


def test_it_gets_its_signals_its_time_and_its_typed_param(run: Run) -> None:
    run.stopping.set("over")
    assert called(param_work(send), '{"kwargs":{"to":"Ann","at":"2026-12-24T12:00:00Z"}}') == (
        False,
        True,
        NOON,
        Mail("Ann", NOON),
    )


def test_it_sees_its_own_cancellation(run: Run) -> None:
    run.cancelled.set("asked")
    assert called(param_work(send), '{"args":[{"to":"Ann"}]}') == (True, False, NOON, Mail("Ann"))


async def test_an_async_one_is_awaited(run: Run) -> None:
    work = param_work(send_later)
    assert work.is_async
    assert await called(work, '{"kwargs":{"a":[1]}}') == {"a": [1]}


def test_one_without_a_param_takes_none(run: Run) -> None:
    work = param_work(tick)
    assert called(work, "{}") == NOON
    with pytest.raises(CodecError, match="no param"):
        work.decode('{"args":[1]}')


@pytest.mark.parametrize("param", [{"a": 1}, [[1, 2]], [5], None])
async def test_a_param_of_any_type_is_what_was_stored(run: Run, param: Any) -> None:
    expected = param[0] if isinstance(param, list) else param
    assert await called(param_work(send_later), encode_params(Params.of(param))) == expected


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ('{"kwargs":{"too":"x"}}', r"\$\.kwargs: .*missing required field `to`"),
        ('{"args":[{"to":5}]}', r"\$\.args\[0\]\.to"),
        ('{"args":[1,2]}', "2 positional"),
        ('{"args":[1],"kwargs":{"a":1}}', "1 positional and 1 keyword"),
        ("{}", "got `null`"),
        ("[]", "Expected `object`"),
    ],
)
def test_a_param_of_another_type_is_refused_with_the_reason(param: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        param_work(send).decode(param)


def test_it_is_checked_when_scheduling() -> None:
    work = param_work(send)
    assert work.decode(work.encode((Mail("Ann"),), {})) == ((Mail("Ann"),), {})
    assert work.decode(work.encode((), {"to": "Ann"})) == ((Mail("Ann"),), {})
    for args, kwargs in [(("Ann",), {}), ((), {"whom": "Ann"}), ((Mail("a"), Mail("b")), {})]:
        with pytest.raises(WorkArgumentsError, match="one param"):
            work.encode(args, kwargs)


def test_it_is_work_like_any_other_in_a_registry() -> None:
    works = FunctionRegistry()
    work = works.add(param_work(send, "mail.send", Options(queue="mail")), aliases=["mail"])
    assert isinstance(work, protocol.Work)
    assert works.load("mail") is work
    assert (work.id, work.declared.queue, work.options(priority=3).declared.priority) == ("mail.send", "mail", 3)
    assert work.options(priority=3).decode('{"kwargs":{"to":"Ann"}}') == ((Mail("Ann"),), {})


def test_outside_of_a_run_there_are_no_signals_to_call_it_with() -> None:
    with pytest.raises(NoRunError, match="no run"):
        param_work(send)(Mail("Ann"))


@pytest.mark.parametrize("fn", [lambda: None, lambda a, b: None, lambda a, b, c, d, e: None], ids=range(3))
def test_a_function_of_another_form_is_refused(fn: Any) -> None:
    with pytest.raises(OptionError, match="cancelled, stopping, scheduled_time"):
        param_work(fn, "x")
