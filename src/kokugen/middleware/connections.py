"""Keeps the database connections of Django in order around work, as Django itself does around a request."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from kokugen.middleware.base import Middleware, WorkNext
from kokugen.run import Run


class DjangoConnections(Middleware):
    """Closes connections that are broken or past CONN_MAX_AGE, before and after each work: a thread keeps its own.

    Without it a worker that was idle for a night finds the connection that its server closed meanwhile. Needs Django.
    """

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        close_old_connections()
        try:
            return call_next(run)
        finally:
            close_old_connections()

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        await sync_to_async(close_old_connections)()
        try:
            return await call_next(run)
        finally:
            await sync_to_async(close_old_connections)()
