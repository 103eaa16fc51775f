"""Tells systemd that the worker is ready, alive and stopping, as sd_notify(3) says. Called by `kokugen worker`.

Where there is no NOTIFY_SOCKET it does nothing. The protocol is a datagram of `NAME=value` lines to a Unix socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from threading import Event
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler

MICROSECONDS = 1_000_000


class Notifier:
    """Speaks to the service manager that `environment` names, if it names one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watched_s = _watched_s(environment) if self._address else None
        self._heard = Event()
        self._heard.set()

    def look_s(self, most_s: float) -> float:
        """Return how long to wait before the next `alive`: half of what the watchdog allows, at most so long."""
        return most_s if self._watched_s is None else min(most_s, self._watched_s / 2)

    def ready(self) -> None:
        """Say that work runs from now on."""
        self._tell(f"READY=1\nMAINPID={os.getpid()}")

    def stopping(self) -> None:
        """Say that the worker stops."""
        self._tell("STOPPING=1")

    def alive(self, scheduler: Scheduler | AsyncScheduler) -> None:
        """Feed the watchdog, if the engine has answered since the last time; say how much is under way."""
        if self._address is None or not self._heard.is_set():
            return
        self._heard.clear()
        scheduler.ping(self._heard.set)
        fed = "WATCHDOG=1\n" if self._watched_s else ""
        self._tell(f"{fed}STATUS={scheduler.active} runs under way")

    def _tell(self, text: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.connect(self._address)
                line.sendall(text.encode())
        except OSError as error:
            click.echo(f"kokugen: the service manager cannot be told: {error}", err=True)
            self._address = None


def _address(text: str) -> str | None:
    """Return the address of the socket; one that begins with @ is abstract."""
    if not hasattr(socket, "AF_UNIX") or text[:1] not in ("/", "@"):
        return None
    return f"\0{text[1:]}" if text[0] == "@" else text


def _watched_s(environment: Mapping[str, str]) -> float | None:
    """Return how often this process must say that it lives; None: it need not."""
    text = environment.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / MICROSECONDS or None
