"""A scheduler in a Flask application: work runs in the application's context, and `flask kokugen-worker` runs it.

Needs Flask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from kokugen.cli.worker import worker_of
from kokugen.errors import SchedulerStateError
from kokugen.middleware.base import Surround
from kokugen.run import Run
from kokugen.scheduler import Scheduler


class FlaskContext(Surround):
    """Runs each work inside of `app.app_context()`, where `current_app`, `g` and the extensions are what they are.

    Made before the application is: `context = FlaskContext()`, `Scheduler(url, middleware=[context])`; then, where the
    application is made, `context.init_app(app, scheduler)`.
    """

    def __init__(self) -> None:
        self._app: Flask | None = None

    def init_app(self, app: Flask, scheduler: Scheduler) -> None:
        """Run the work in this application, keep the scheduler as `app.extensions["kokugen"]`, and add the command."""
        self._app = app
        app.extensions["kokugen"] = scheduler
        app.cli.add_command(worker_of(lambda: scheduler, "kokugen-worker"))

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        if self._app is None:
            raise SchedulerStateError(
                f"no application for work {run.work_id!r} to run in: call init_app(app, scheduler) where it is made"
            )
        with self._app.app_context():
            yield
