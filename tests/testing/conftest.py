"""What the tests of the testing kit rely on."""

from __future__ import annotations

from threading import Thread, current_thread

import pytest


@pytest.fixture
def started_threads(monkeypatch: pytest.MonkeyPatch) -> list[Thread]:
    """The threads that the test's own thread starts, in their order: those that other tests left behind don't count."""
    test, started, start = current_thread(), [], Thread.start

    def note(thread: Thread) -> None:
        if current_thread() is test:
            started.append(thread)
        start(thread)

    monkeypatch.setattr(Thread, "start", note)
    return started
