"""Django, in processes of their own: the example project, and the promises of `django_promises.py`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.integrations.applications import EXAMPLES

ROOT = EXAMPLES.parent
PROJECT = EXAMPLES / "django_shop"
LONG_S = 60.0
CLIENT = "from django.test import Client; import sys; sys.stdout.write(Client().{}('{}').content.decode())"


class Project:
    """The example, with its database and its store in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "SHOP_DATABASE": str(folder / "shop.sqlite3"),
            "KOKUGEN_URL": f"sqlite:///{folder / 'jobs.db'}",
        }

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=LONG_S, check=False
        )

    def ask(self, method: str, path: str) -> Any:
        code = "import django; django.setup(); " + CLIENT.format(method, path)
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=True,
        )
        return json.loads(ended.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    made = project.manage("migrate", "--run-syncdb", "--verbosity", "0")
    assert made.returncode == 0, made.stderr
    return project


@pytest.mark.skipif(sys.platform == "win32", reason="the worker is stopped by a signal")
def test_the_example_schedules_in_its_requests_and_its_worker_runs_the_work(project: Project) -> None:
    paid = project.ask("post", "/pay/Ann/")
    path = f"/look/{paid['order']}/{paid['counted']}/"
    assert project.ask("get", path) == {"receipt": "", "letters": None}
    command = [sys.executable, "manage.py", "kokugen_worker", "--workers", "2"]
    worker = subprocess.Popen(command, cwd=PROJECT, env=project.environment, stderr=subprocess.PIPE, text=True)
    try:
        done = {"receipt": "Dear Ann, thank you!", "letters": 3}
        for _ in range(300):
            if project.ask("get", path) == done:
                break
            Event().wait(0.05)
        assert project.ask("get", path) == done
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LONG_S) == 0
    finally:
        worker.kill()
        worker.communicate()


def test_a_bad_option_of_the_worker_is_one_line_and_code_2(project: Project) -> None:
    ended = project.manage("kokugen_worker", "--grace", "soon")
    assert ended.returncode == 2
    assert "--grace" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_promises_hold_in_a_process_that_has_django_set_up() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
    ended = subprocess.run(
        [*command, "tests/integrations/django_promises.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed is not None
    assert int(passed[1]) >= 20
