"""One run becomes one outcome, whatever the work does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from kokugen.codec import ERROR_MAX
from kokugen.dispatcher.call import call_async, call_sync, call_work, cut_off, ended
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.errors import CodecError, NoRunError, OptionError, UndecodableError
from kokugen.run import Cancel, Interrupt, RetryAfter, Run, Snooze, current_run
from kokugen.testing import ManualClock
from kokugen.testing.dispatching.lab import run_of


def called(run: Run) -> Outcome:
    return call_sync(run, call_work, ManualClock())


async def awaited(run: Run) -> Outcome:
    return await call_async(run, call_work, ManualClock())


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise error

    return work


def raising_async(error: BaseException) -> Callable[[], Any]:
    async def work() -> NoReturn:
        raise error

    return work


def test_the_result_of_work_is_returned_as_stored_text() -> None:
    def add(a: int, b: int = 0) -> int:
        return a + b

    outcome = called(run_of(add, param='{"args":[1],"kwargs":{"b":2}}'))
    assert (outcome.ending, outcome.result, outcome.error) == (Ending.RETURNED, "3", None)


async def test_the_result_of_async_work_is_awaited() -> None:
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    outcome = await awaited(run_of(add, param='{"args":[1,2]}'))
    assert (outcome.ending, outcome.result) == (Ending.RETURNED, "3")


def test_a_run_knows_when_it_started_and_work_can_reach_it() -> None:
    clock, seen = ManualClock(), list[Run]()
    run = run_of(lambda: seen.append(current_run()))
    call_sync(run, call_work, clock)
    assert seen == [run]
    assert run.started_us == clock.wall_us()


def test_after_a_run_there_is_no_current_run() -> None:
    called(run_of(lambda: None))
    with pytest.raises(NoRunError):
        current_run()


async def test_a_run_whose_lease_is_no_longer_trusted_is_not_started() -> None:
    calls: list[int] = []
    run = run_of(lambda: calls.append(1), trusted_until_s=ManualClock().boot_s())
    assert called(run).ending is Ending.NOT_STARTED
    assert (await awaited(run_of(raising_async(ValueError()), trusted_until_s=0))).ending is Ending.NOT_STARTED
    assert (calls, run.started_us) == ([], 0)


async def test_a_run_is_not_started_from_its_start_deadline_on() -> None:
    clock = ManualClock()

    async def work() -> None: ...

    for left_us, ending in ((1, Ending.RETURNED), (0, Ending.NOT_STARTED), (-1, Ending.NOT_STARTED)):
        sync, async_ = run_of(int), run_of(work)
        sync.start_before_us = async_.start_before_us = clock.wall_us() + left_us
        assert call_sync(sync, call_work, clock).ending is ending
        assert (await call_async(async_, call_work, clock)).ending is ending


async def test_a_run_that_was_asked_to_stop_before_is_not_started() -> None:
    calls: list[int] = []
    run = run_of(lambda: calls.append(1))
    run.ask_to_stop(Interrupt.CANCEL)
    assert called(run).ending is Ending.NOT_STARTED
    assert (await awaited(run)).ending is Ending.NOT_STARTED
    assert calls == []


def test_a_time_limit_that_is_over_at_once_still_lets_the_work_start() -> None:
    run = run_of(int, timeout_us=1)
    run.ask_to_stop(Interrupt.TIMEOUT)
    assert called(run).ending is Ending.RETURNED


EVERY_KIND = [
    ValueError("wrong"),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    MemoryError(),
    RecursionError(),
    StopIteration(),
    StopAsyncIteration(),
    asyncio.CancelledError(),
    BaseException("base"),
    ExceptionGroup("several", [ValueError("one"), OSError("two")]),
    BaseExceptionGroup("worse", [SystemExit(2)]),
]


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_nothing_that_sync_work_raises_escapes(error: BaseException) -> None:
    outcome = called(run_of(raising(error)))
    assert (outcome.ending, outcome.error) == (Ending.RAISED, error)
    assert type(error).__name__ in (outcome.text or "")


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
async def test_nothing_that_async_work_raises_escapes(error: BaseException) -> None:
    outcome = await awaited(run_of(raising_async(error)))
    assert outcome.ending is Ending.RAISED
    assert type(error).__name__ in (outcome.text or "")


@pytest.mark.parametrize(
    ("error", "ending", "delay_us", "text"),
    [
        (RetryAfter(timedelta(seconds=2), "busy"), Ending.RETRY_AFTER, 2_000_000, "busy"),
        (Snooze(timedelta(minutes=1)), Ending.SNOOZED, 60_000_000, "snoozed for 0:01:00"),
        (Cancel("not needed any more"), Ending.CANCELLED, 0, "not needed any more"),
    ],
)
async def test_work_steers_how_its_run_ends(error: BaseException, ending: Ending, delay_us: int, text: str) -> None:
    for outcome in (called(run_of(raising(error))), await awaited(run_of(raising_async(error)))):
        assert (outcome.ending, outcome.delay_us, outcome.text) == (ending, delay_us, text)


def test_a_delay_that_is_none_is_an_error_of_the_work() -> None:
    def impatient() -> None:
        raise RetryAfter(5)  # type: ignore[arg-type]

    outcome = called(run_of(impatient))
    assert outcome.ending is Ending.RAISED
    assert isinstance(outcome.error, OptionError)


@pytest.mark.parametrize("param", ['{"args":["x"]}', '{"kwargs":{"b":1}}', "nonsense", '{"args":[1,2]}'])
async def test_arguments_that_cannot_be_read_call_nothing(param: str) -> None:
    calls: list[int] = []

    def work(a: int) -> None:
        calls.append(a)

    async def async_work(a: int) -> None:
        calls.append(a)

    for outcome in (called(run_of(work, param=param)), await awaited(run_of(async_work, param=param))):
        assert (outcome.ending, type(outcome.error)) == (Ending.UNDECODABLE, UndecodableError)
    assert calls == []


def test_a_codec_error_that_the_work_raises_itself_is_its_failure() -> None:
    assert called(run_of(raising(CodecError("mine")))).ending is Ending.RAISED


async def test_a_result_that_cannot_be_stored_is_a_failure() -> None:
    async def work() -> object:
        return object()

    for outcome in (called(run_of(object)), await awaited(run_of(work))):
        assert outcome.ending is Ending.RAISED
        assert isinstance(outcome.error, CodecError)


@pytest.mark.parametrize("interrupt", list(Interrupt))
async def test_work_that_obeys_an_interrupt_is_interrupted(interrupt: Interrupt) -> None:
    async def work() -> None:
        current_run().ask_to_stop(interrupt)
        raise asyncio.CancelledError

    assert (await awaited(run_of(work))).ending is Ending.INTERRUPTED


def test_a_timeout_error_is_obedience_only_to_a_timeout() -> None:
    def work(interrupt: str) -> None:
        current_run().ask_to_stop(Interrupt[interrupt])
        raise TimeoutError

    assert called(run_of(work, param='{"args":["TIMEOUT"]}')).ending is Ending.INTERRUPTED
    assert called(run_of(work, param='{"args":["CANCEL"]}')).ending is Ending.RAISED


def test_another_error_after_an_interrupt_is_a_failure_and_the_interrupt_stays_known() -> None:
    def work() -> None:
        current_run().ask_to_stop(Interrupt.TIMEOUT)
        raise ValueError

    outcome = called(run_of(work))
    assert (outcome.ending, outcome.run.interrupt) == (Ending.RAISED, Interrupt.TIMEOUT)


def test_work_that_ignores_an_interrupt_returns() -> None:
    def work() -> str:
        current_run().ask_to_stop(Interrupt.CANCEL)
        return "done all the same"

    assert called(run_of(work)).ending is Ending.RETURNED


async def test_async_work_that_cancels_itself_has_failed() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(3600)

    outcome = await asyncio.create_task(awaited(run_of(work)))
    assert outcome.ending is Ending.RAISED


def test_work_that_the_end_of_its_loop_cuts_off_is_interrupted() -> None:
    outcomes: list[Outcome] = []

    async def work() -> None:
        await asyncio.sleep(3600)

    async def keep() -> None:
        outcomes.append(await awaited(run_of(work)))

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(keep())
        await asyncio.sleep(0)
        return task

    asyncio.run(main())
    assert [(one.ending, one.run.interrupt) for one in outcomes] == [(Ending.INTERRUPTED, Interrupt.STOP)]


def test_a_run_whose_place_is_gone_was_interrupted_only_if_it_had_started() -> None:
    waiting, begun = run_of(int), run_of(int)
    called(begun)
    assert cut_off(waiting, "gone").ending is Ending.NOT_STARTED
    assert cut_off(begun, "gone").ending is Ending.INTERRUPTED


def test_the_text_of_an_error_shows_the_work_and_not_kokugen() -> None:
    def inner() -> None:
        raise ValueError("the reason")

    def work() -> None:
        try:
            inner()
        except ValueError as error:
            raise RuntimeError("the failure") from error

    text = called(run_of(work)).text or ""
    assert "the reason" in text
    assert "the failure" in text
    assert "in inner" in text
    assert "dispatcher/call.py" not in text
    assert "registry/work.py" not in text


def test_the_text_of_an_error_holds_no_variables() -> None:
    def work(password: str) -> None:
        raise ValueError

    assert "hunter2" not in (called(run_of(work, param='{"args":["hunter2"]}')).text or "")


def test_a_long_error_is_cut_to_its_limit() -> None:
    text = called(run_of(raising(ValueError("x" * 1_000_000)))).text or ""
    assert len(text.encode()) <= ERROR_MAX


def test_errors_that_are_each_others_cause_can_be_told() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert "one" in (called(run_of(raising(one))).text or "")


def test_an_error_that_cannot_be_told_still_ends_the_run() -> None:
    class UntellableError(Cancel):
        def __str__(self) -> str:
            raise ValueError("not even this")

    outcome = ended(run_of(int), UntellableError("?"))
    assert (outcome.ending, outcome.text) == (Ending.RAISED, "UntellableError")


def test_async_work_runs_through_a_chain_that_is_awaited() -> None:
    async def chain(run: Run) -> str:
        return f"before {await call_work(run)}"

    async def work() -> str:
        return "after"

    outcome = asyncio.run(call_async(run_of(work), chain, ManualClock()))
    assert outcome.result == '"before after"'
