"""A worker under a service manager: ready, alive and stopping are said on its socket, as systemd hears them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kokugen import Scheduler
from kokugen.cli.notify import Notifier

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="service managers of this kind are on Unix")
PATIENCE_S = 60.0
JOBS = """
    import threading
    from kokugen import AsyncScheduler, Scheduler

    scheduler = Scheduler("sqlite:///tasks.db")
    loop_scheduler = AsyncScheduler("sqlite:///tasks.db")
"""


class Manager:
    """The end of the socket that the manager listens at."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.line.settimeout(PATIENCE_S)

    def hear(self) -> dict[str, str]:
        """The next datagram, by its names."""
        return dict(line.split("=", 1) for line in self.line.recv(4096).decode().splitlines())

    def hear_until(self, name: str) -> list[dict[str, str]]:
        heard = [self.hear()]
        while name not in heard[-1]:
            heard.append(self.hear())
        return heard

    def says_nothing_more(self) -> bool:
        self.line.setblocking(False)
        try:
            self.line.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.line.settimeout(PATIENCE_S)
        return False


@pytest.fixture
def manager() -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as folder:  # short: the address of a socket may have some 100 bytes
        manager = Manager(f"{folder}/notify")
        yield manager
        manager.line.close()


class StandIn:
    """A scheduler as the notifier sees it, whose engine answers when a test says so."""

    active = 3

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def ping(self, heard: Any) -> None:
        self.asked.append(heard)


def environment(manager: Manager, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.address, **more}


# -- The real worker


@pytest.mark.parametrize("name", ["scheduler", "loop_scheduler"])
def test_a_worker_says_when_it_is_ready_alive_and_stopping(name: str, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(textwrap.dedent(JOBS), encoding="ascii")
    command = [sys.executable, "-m", "kokugen.cli", "worker", f"jobs:{name}"]
    told = {**os.environ, **environment(manager, WATCHDOG_USEC="200000")}
    worker = subprocess.Popen(command, cwd=tmp_path, env=told, stderr=subprocess.DEVNULL)
    try:
        assert manager.hear() == {"READY": "1", "MAINPID": str(worker.pid)}
        for _ in range(3):
            assert manager.hear() == {"WATCHDOG": "1", "STATUS": "0 runs under way"}
        worker.send_signal(signal.SIGTERM)
        assert manager.hear_until("STOPPING")[-1] == {"STOPPING": "1"}
        assert worker.wait(PATIENCE_S) == 0
        assert manager.says_nothing_more()
    finally:
        worker.kill()
        worker.wait()


# -- What it says


def test_the_watchdog_is_fed_only_while_the_engine_answers(manager: Manager) -> None:
    notifier, scheduler = Notifier(environment(manager, WATCHDOG_USEC="10000000")), StandIn()
    for _ in range(3):
        notifier.alive(scheduler)  # type: ignore[arg-type]
    assert manager.hear() == {"WATCHDOG": "1", "STATUS": "3 runs under way"}
    assert manager.says_nothing_more()
    scheduler.asked[0]()
    notifier.alive(scheduler)  # type: ignore[arg-type]
    assert manager.hear()["WATCHDOG"] == "1"


def test_a_real_engine_answers_and_one_that_does_not_run_does_not() -> None:
    from threading import Event

    heard, scheduler = Event(), Scheduler("memory://")
    scheduler.ping(heard.set)
    assert not heard.is_set()
    with scheduler:
        scheduler.ping(heard.set)
        assert heard.wait(PATIENCE_S)


def test_without_a_watchdog_it_tells_its_state_alone(manager: Manager) -> None:
    for more in ({}, {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}):
        notifier = Notifier(environment(manager, **more))
        notifier.alive(StandIn())  # type: ignore[arg-type]
        assert manager.hear() == {"STATUS": "3 runs under way"}
        assert notifier.look_s(1.0) == 1.0


def test_it_speaks_at_least_twice_as_often_as_the_watchdog_asks(manager: Manager) -> None:
    assert Notifier(environment(manager, WATCHDOG_USEC="500000")).look_s(1.0) == 0.25
    assert Notifier(environment(manager, WATCHDOG_USEC="30000000")).look_s(1.0) == 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_spoken_to() -> None:
    manager = Manager(f"@kokugen-test-{os.getpid()}")
    Notifier({"NOTIFY_SOCKET": manager.address}).ready()
    assert manager.hear()["READY"] == "1"
    manager.line.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234"])
def test_without_a_socket_that_it_knows_it_says_nothing(address: str) -> None:
    notifier, scheduler = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}), StandIn()
    notifier.ready()
    notifier.alive(scheduler)  # type: ignore[arg-type]
    assert scheduler.asked == []
    assert notifier.look_s(1.0) == 1.0


def test_a_manager_that_cannot_be_told_is_complained_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"})
    notifier.ready()
    notifier.stopping()
    assert capsys.readouterr().err.count("the service manager cannot be told") == 1
