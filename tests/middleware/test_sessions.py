"""A scoped session ends with its work: nothing of it is seen by the next run on the same thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from kokugen.dispatcher.protocol import Ending
from kokugen.middleware.sessions import SessionMiddleware
from tests.middleware.calls import both, call


def scoped() -> scoped_session[Any]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    return scoped_session(sessionmaker(engine))


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("raises", [False, True], ids=["returned", "raised"])
def test_the_session_is_removed_however_the_work_ended(kind: int, raises: bool) -> None:
    session = scoped()
    used: list[Any] = []

    def work() -> None:
        used.append(session())
        session.execute(text("SELECT 1"))
        if raises:
            raise ValueError("no")

    ending = call(SessionMiddleware(session), both(work)[kind]).ending
    assert ending is (Ending.RAISED if raises else Ending.RETURNED)
    assert not session.registry.has()
    assert not used[0].in_transaction()
    session.get_bind().dispose()  # type: ignore[union-attr]


def test_an_async_session_is_removed_after_async_work_and_not_asked_of_sync_work() -> None:
    session = async_scoped_session(async_sessionmaker(), scopefunc=asyncio.current_task)
    held: list[bool] = []

    async def work() -> None:
        session()
        held.append(session.registry.has())

    class Watched(SessionMiddleware):
        async def _work_async(self, run: Any, call_next: Any) -> Any:
            try:
                return await super()._work_async(run, call_next)
            finally:
                held.append(session.registry.has())

    assert call(Watched(session), work).ending is Ending.RETURNED
    assert held == [True, False]
    assert call(SessionMiddleware(session), int).ending is Ending.RETURNED
