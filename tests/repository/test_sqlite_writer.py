"""The writer's thread answers every call, whatever one of them raises, and in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import apsw
import pytest

from kokugen.errors import RepositoryUnavailableError
from kokugen.reply import Reply
from kokugen.repository.protocol import STOP_ASKED
from kokugen.repository.sqlite import writer
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw
from kokugen.repository.sqlite.tasks import Scope
from kokugen.repository.sqlite.writer import Operation, Writer
from kokugen.testing import ManualClock

PATIENCE_S = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.db"
    db = connect(Apsw(), path)
    migrate(db, path, "cluster")
    db.close()
    return path


@pytest.fixture
def opened(path: Path) -> Iterator[Writer]:
    opened = Writer(Apsw(), path, "default", ManualClock(), waits=lambda _: None, changed=lambda: None)
    yield opened
    opened.close()


class Blocked:
    """Keeps the writer's thread in one transaction, so that what is submitted meanwhile is carried out together."""

    def __init__(self, opened: Writer) -> None:
        self.entered, self.leave = Event(), Event()
        self.reply = ask(opened, self._wait)
        assert self.entered.wait(PATIENCE_S)

    def _wait(self, _: Scope) -> None:
        self.entered.set()
        assert self.leave.wait(PATIENCE_S)


def ask(opened: Writer, run: Any, **more: Any) -> Reply[Any]:
    reply: Reply[Any] = Reply()
    opened.submit(Operation(reply=reply, run=run, **more))
    return reply


def note(key: str) -> Any:
    def run(scope: Scope) -> str:
        scope.db.execute("INSERT INTO meta VALUES (?, 'noted')", (key,))
        return key

    return run


def noted(opened: Writer) -> list[str]:
    def run(scope: Scope) -> list[str]:
        return [row[0] for row in scope.db.execute("SELECT key FROM meta WHERE value = 'noted' ORDER BY key")]

    found: list[str] = ask(opened, run).result(PATIENCE_S)
    return found


@pytest.mark.parametrize("error", [TypeError, AssertionError, UnicodeError, apsw.ConstraintError])
def test_a_call_that_raises_is_answered_with_it_and_spoils_no_other(opened: Writer, error: type[Exception]) -> None:
    def fail(scope: Scope) -> None:
        note("half")(scope)
        raise error("refused")

    blocked = Blocked(opened)
    replies = [ask(opened, note("a")), ask(opened, fail), ask(opened, note("b"))]
    blocked.leave.set()
    with pytest.raises(Exception, match="refused"):
        replies[1].result(PATIENCE_S)
    assert (replies[0].result(PATIENCE_S), replies[2].result(PATIENCE_S)) == ("a", "b")
    assert noted(opened) == ["a", "b"]


def statements(opened: Writer) -> list[str]:
    """What the writer has its database do, from now on."""
    said: list[str] = []
    db = opened._db
    assert isinstance(db, apsw.Connection)
    db.set_exec_trace(lambda _cursor, sql, _bindings: not said.append(sql))  # type: ignore[func-returns-value]
    return said


def test_what_is_queued_while_a_batch_is_carried_out_joins_its_transaction(opened: Writer) -> None:
    said = statements(opened)
    blocked = Blocked(opened)
    replies = [ask(opened, note(key)) for key in "ab"]
    blocked.leave.set()
    assert [reply.result(PATIENCE_S) for reply in replies] == ["a", "b"]
    assert [said.count(word) for word in ("BEGIN IMMEDIATE", "COMMIT")] == [1, 1]


def test_no_transaction_grows_beyond_its_bound(opened: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS_MAX", 3)
    said = statements(opened)
    blocked = Blocked(opened)
    replies = [ask(opened, note(str(key))) for key in range(5)]
    blocked.leave.set()
    assert [reply.result(PATIENCE_S) for reply in replies] == list("01234")
    assert said.count("COMMIT") == 2


def test_a_batch_that_cannot_begin_waits_for_the_lock_once_not_once_a_call(path: Path, opened: Writer) -> None:
    begun = statements(opened)
    opened._db.set_busy_timeout(0)  # type: ignore[attr-defined]
    other = connect(Apsw(), path)
    other.execute("BEGIN IMMEDIATE")
    answers = opened._answers([Operation(reply=Reply(), run=note(key)) for key in "abc"])
    other.close()
    assert begun == ["BEGIN IMMEDIATE"]
    assert [type(answer) for _, answer in answers] == [RepositoryUnavailableError] * 3


def test_an_urgent_call_goes_before_what_was_queued_earlier(opened: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS_MAX", 1)
    order: list[str] = []
    blocked = Blocked(opened)

    def named(name: str) -> Any:
        def run(_: Scope, rows: Sequence[str] = ()) -> Sequence[str]:
            order.append(name)
            return rows

        return run

    slow = [ask(opened, named(name), rows=[name]) for name in ("first", "second")]
    beat = ask(opened, named("beat"), urgent=True)
    blocked.leave.set()
    for reply in (*slow, beat):
        reply.result(PATIENCE_S)
    assert order == ["beat", "first", "second"]


def test_a_listener_that_raises_keeps_nobody_from_an_answer(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def raise_(*_: int) -> None:
        raise RuntimeError("its loop was closed")

    opened = Writer(Apsw(), path, "default", ManualClock(), waits=raise_, changed=raise_)
    assert [ask(opened, note(key), due_us=0).result(PATIENCE_S) for key in "ab"] == ["a", "b"]
    opened.close()
    assert "its loop was closed" in caplog.text


def test_what_is_said_besides_takes_nothing_from_what_is_due(path: Path) -> None:
    heard: list[int] = []
    opened = Writer(Apsw(), path, "default", ManualClock(), waits=heard.append, changed=lambda: None)
    blocked = Blocked(opened)
    replies = [ask(opened, note(str(due_us)), due_us=due_us) for due_us in (7, STOP_ASKED, 5)]
    blocked.leave.set()
    for reply in replies:
        reply.result(PATIENCE_S)
    opened.close()
    assert heard == [STOP_ASKED, 5]


def test_what_is_accepted_before_a_close_is_written(path: Path) -> None:
    closing = Writer(Apsw(), path, "default", ManualClock(), waits=lambda _: None, changed=lambda: None)
    replies = [ask(closing, note(str(n)), urgent=n % 2 == 1) for n in range(6)]
    closing.close()
    assert [reply.result(0) for reply in replies] == [str(n) for n in range(6)]


def test_a_call_that_comes_while_the_store_closes_is_refused_not_forgotten(path: Path) -> None:
    closing = Writer(Apsw(), path, "default", ManualClock(), waits=lambda _: None, changed=lambda: None)
    closing.close()
    closing._closed = False  # as a caller sees it who looked just before the close
    for urgent in (False, True):
        with pytest.raises(RepositoryUnavailableError, match="was closed"):
            ask(closing, note("late"), urgent=urgent).result(PATIENCE_S)


def test_an_urgent_call_that_overtakes_a_close_is_answered_once_and_what_comes_behind_it_is_refused(path: Path) -> None:
    closing = Writer(Apsw(), path, "default", ManualClock(), waits=lambda _: None, changed=lambda: None)
    blocked = Blocked(closing)
    closing._queue.put(None)  # another thread closes it, after these callers looked
    beat, late = ask(closing, note("beat"), urgent=True), ask(closing, note("late"))
    blocked.leave.set()
    closing.close()
    assert beat.result(0) == "beat"
    with pytest.raises(RepositoryUnavailableError, match="was closed"):
        late.result(0)
