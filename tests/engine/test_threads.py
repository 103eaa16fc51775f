"""What reaches the engine from other threads while its loop closes harms neither."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.node import Lab, virtually


def test_a_hint_and_a_stop_that_come_as_the_loop_closes_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        await node.stop()
        closed = asyncio.SelectorEventLoop()
        closed.close()
        monkeypatch.setattr(closed, "is_closed", lambda: False)  # as a thread sees it that looks just before the close
        node.engine._loop = closed
        node.engine.hint(0)
        node.engine.request_stop(1.0)
        monkeypatch.undo()

    virtually(main)
