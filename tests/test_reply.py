"""A reply is one answer for threads and coroutines, and the answering thread outlives whoever waited."""

from __future__ import annotations

import asyncio

import pytest

from kokugen.reply import Reply, resolve_all


def boom() -> None:
    raise ValueError("a callback's own fault")


def test_a_callback_that_raises_keeps_no_other_caller_from_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Reply[int](), Reply[int]()
    first.when_done(boom)
    resolve_all([(first, 1), (second, 2)])
    assert (first.result(), second.result()) == (1, 2)
    assert "a callback's own fault" in caplog.text


@pytest.mark.parametrize("failed", [True, False])
def test_every_callback_is_called_though_one_raises(failed: bool) -> None:
    reply, called = Reply[int](), list[str]()
    reply.when_done(boom)
    reply.when_done(lambda: called.append("second"))
    if failed:
        reply.fail(KeyError("gone"))
    else:
        reply.resolve(1)
    assert called == ["second"]


@pytest.mark.parametrize("together", [True, False])
def test_an_answer_for_a_loop_that_was_just_closed_harms_nobody(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, other = Reply[int](), Reply[int]()

    async def begin_to_wait() -> None:
        next(iter(reply.__await__()))

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(begin_to_wait())
    loop.close()
    monkeypatch.setattr(loop, "is_closed", lambda: False)  # as a thread sees it that looks just before the close
    if together:
        resolve_all([(reply, 1), (other, 2)])
        assert other.result() == 2
    else:
        reply.resolve(1)
    assert reply.result() == 1
    monkeypatch.undo()
