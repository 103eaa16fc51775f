"""A reply is one answer for threads and coroutines, and the answering thread outlives whoever waited."""

from __future__ import annotations

import asyncio

import pytest

from kokugen.reply import Reply, gather, resolve_all


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


def test_a_gathering_is_answered_once_all_are_whatever_they_answered() -> None:
    replies = [Reply[int]() for _ in range(3)]
    gathered = gather([*replies, Reply.of(0)])
    replies[0].resolve(1)
    replies[1].fail(KeyError("gone"))
    assert not gathered.done()
    replies[2].resolve(3)
    assert gathered.done()
    assert gather([]).done()


def test_an_answer_may_ask_on_and_what_fails_on_the_way_is_the_answer() -> None:
    first, second = Reply[int](), Reply[str]()
    followed = first.and_then(lambda _: second)
    first.resolve(1)
    assert not followed.done()
    second.resolve("b")
    assert followed.result() == "b"
    failed: Reply[str] = Reply[int].of(1).and_then(lambda _: Reply.failed(KeyError("second")))
    never: Reply[str] = Reply[int].failed(KeyError("first")).and_then(lambda _: second)
    for reply, name in ((failed, "second"), (never, "first")):
        with pytest.raises(KeyError, match=name):
            reply.result()


def test_an_error_may_ask_on_and_an_answer_does_not() -> None:
    missed: Reply[int] = Reply[int].failed(KeyError("first")).or_else(lambda error: Reply.of(len(error.args)))
    found: Reply[int] = Reply[int].of(5).or_else(lambda _: Reply.of(0))
    failed: Reply[int] = Reply[int].failed(KeyError("first")).or_else(lambda _: Reply.failed(KeyError("second")))
    assert (missed.result(), found.result()) == (1, 5)
    with pytest.raises(KeyError, match="second"):
        failed.result()


def test_what_follows_an_answer_is_about_the_same_tasks() -> None:
    assert Reply[int]().on(("a", "b")).then(str).about == ("a", "b")
