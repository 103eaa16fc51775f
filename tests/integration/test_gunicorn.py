"""Under gunicorn with several workers and preload: what requests schedule runs once, in whichever process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from kokugen import Scheduler, TaskState

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs fork")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REQUESTS = 40
LONG = timedelta(seconds=60)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'web.db'}"


@pytest.fixture
def server(tmp_path: Path, url: str) -> Iterator[Path]:
    """The example application under gunicorn, on a socket of which this is the path."""
    place = tmp_path / "web.sock"
    command = [sys.executable, "-m", "gunicorn", "--config", "python:web", "--bind", f"unix:{place}", "web:app"]
    environment = {**os.environ, "KOKUGEN_URL": url}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=EXAMPLES, env=environment, stdout=log, stderr=log)
        try:
            wait_for(place)
            yield place
        finally:
            process.terminate()
            process.wait(60)


def wait_for(place: Path) -> None:
    for _ in range(3000):
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(str(place)) == 0:  # the socket's file is there before anyone listens
                return
        Event().wait(0.01)
    raise AssertionError("gunicorn did not come up")


def ask(place: Path, who: str) -> str:
    """Send one request, and return the body of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(place))
        connection.sendall(f"GET /?who={who} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert " 202 " in head.splitlines()[0], answer
    return body.strip()


def test_what_requests_schedule_runs_exactly_once(server: Path, url: str, tmp_path: Path) -> None:
    ids = [ask(server, f"guest{number}") for number in range(REQUESTS)]
    scheduler = Scheduler(url)
    ended = [scheduler.wait(task_id, LONG) for task_id in ids]
    assert {info.state for info in ended} == {TaskState.DONE}
    assert {info.fence for info in ended} == {1}
    log = tmp_path / "log"  # what a worker printed may reach the file a moment after its task is Done
    patience = iter(range(200))
    while sum((greeted := Counter(re.findall(r"Hello (\w+),", log.read_text()))).values()) < REQUESTS:
        assert next(patience, None) is not None, greeted
        threading.Event().wait(0.05)
    assert greeted == {f"guest{number}": 1 for number in range(REQUESTS)}
    while len({node.pid for node in scheduler.nodes()}) < 4:  # on a busy machine the last worker comes up late
        assert next(patience, None) is not None, scheduler.nodes()
        threading.Event().wait(0.05)
    scheduler.close()


def test_a_stopped_server_leaves_nothing_running(server: Path, url: str) -> None:
    task_id = ask(server, "Ann")
    scheduler = Scheduler(url)
    assert scheduler.wait(task_id, LONG).state is TaskState.DONE
    assert scheduler.count(state="Working") == 0
    scheduler.close()
