"""Work in the context of a real Flask application, scheduled by its requests and run by its own command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask, current_app, has_app_context

from kokugen import Scheduler, TaskState
from kokugen.integrations.flask import FlaskContext
from tests.integrations.applications import EXAMPLES, loaded

SOON = timedelta(0)
LONG = timedelta(seconds=60)


def test_a_request_schedules_and_the_work_finds_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = loaded("flask_app", f"sqlite:///{tmp_path / 'tasks.db'}", monkeypatch)
    with example.scheduler:
        answer = example.app.test_client().post("/orders/7/pay")
        assert answer.status_code == 202
        result = example.scheduler.result(answer.get_json()["receipt"], LONG)
    assert result == "receipt of order 7, from shop@example.org"


def test_async_work_has_the_application_too_and_nothing_is_left_of_it() -> None:
    context, app = FlaskContext(), Flask("shop")
    scheduler = Scheduler("memory://", middleware=[context])
    context.init_app(app, scheduler)

    @scheduler.work
    async def name() -> str:
        return current_app.name

    with scheduler:
        assert scheduler.after(SOON, name).result(LONG) == "shop"
    assert app.extensions["kokugen"] is scheduler
    assert not has_app_context()


def test_work_without_an_application_fails_and_says_what_to_do() -> None:
    scheduler = Scheduler("memory://", middleware=[FlaskContext()])
    work = scheduler.work(id="work")(lambda: None)
    with scheduler:
        info = scheduler.after(SOON, work).wait(LONG)
    assert info.state is TaskState.FAILED
    assert "call init_app(app, scheduler)" in (info.error or "")


@pytest.mark.skipif(sys.platform == "win32", reason="it is stopped by a signal")
def test_the_command_of_the_application_runs_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    example = loaded("flask_app", url, monkeypatch)
    task_id = example.app.test_client().post("/orders/7/pay").get_json()["receipt"]
    command = [sys.executable, "-m", "flask", "--app", "flask_app", "kokugen-worker", "--workers", "1"]
    worker = subprocess.Popen(command, cwd=EXAMPLES, env={**os.environ, "KOKUGEN_URL": url}, stderr=subprocess.PIPE)
    try:
        assert example.scheduler.wait(task_id, LONG).state is TaskState.DONE
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.communicate()
        example.scheduler.close()


def test_a_bad_option_of_the_command_is_one_line() -> None:
    command = [sys.executable, "-m", "flask", "--app", "flask_app", "kokugen-worker", "--grace", "soon"]
    ended = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "--grace" in ended.stderr
