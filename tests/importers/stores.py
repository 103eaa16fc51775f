"""Real job stores: made by APScheduler 3 itself, with real jobs, and never run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler


class Still(BackgroundScheduler):  # type: ignore[misc] # it says nothing of its types
    """Keeps jobs and runs none."""

    def _process_jobs(self) -> None:
        """Do nothing."""


Add = Callable[[BackgroundScheduler], object]


def make_store(path: Path, *add: Add, url: str | None = None, **options: Any) -> str:
    """Make a job store in a file, with the jobs that `add` adds to a scheduler; return its URL."""
    url = url or f"sqlite:///{path}"
    store = SQLAlchemyJobStore(url=url, **options)
    scheduler = Still(jobstores={"default": store}, timezone="Europe/Berlin")
    scheduler.start(paused=True)
    try:
        for one in add:
            one(scheduler)
    finally:
        scheduler.shutdown(wait=False)
        store.engine.dispose()
    return url
