"""Ends the scoped session of SQLAlchemy with each work, so that no run sees what another one left in it."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

from kokugen.middleware.base import Middleware, WorkNext
from kokugen.run import Run


class ScopedSession(Protocol):
    """A `scoped_session`, also Flask-SQLAlchemy's `db.session`, or an `async_scoped_session`."""

    def remove(self) -> Any:
        """Close the session of this scope, which rolls back what was not committed, and forget it."""
        ...


class SessionMiddleware(Middleware):
    """Calls `session.remove()` after each work, however it ended. An async one is removed after async work alone.

    The scope of an `async_scoped_session` is to be the task, `scopefunc=asyncio.current_task`.
    """

    def __init__(self, session: ScopedSession) -> None:
        self._session = session
        self._is_async = inspect.iscoroutinefunction(session.remove)

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        try:
            return call_next(run)
        finally:
            if not self._is_async:
                self._session.remove()

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        try:
            return await call_next(run)
        finally:
            removed = self._session.remove()
            if self._is_async:
                await removed
