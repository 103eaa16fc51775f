"""What every test relies on."""

from __future__ import annotations

import signal

import pytest

from tests.servers.fixtures import pgbouncer, pooler, postgres, postgres_15, postgres_server  # noqa: F401 - fixtures


@pytest.fixture(autouse=True, scope="session")
def _hear_ctrl_c() -> None:
    """Undo what a shell does to a command in the background: the processes that tests start must hear SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
