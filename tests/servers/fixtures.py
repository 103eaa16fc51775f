"""The servers that tests share. A missing one is a skip that says what to install, and a failure where CI=true."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.pgbouncer import bouncing
from tests.servers.pooler import Pooler, pooling
from tests.servers.postgres import URL_VARIABLE, MissingServer, PostgresServer, installed, newest, running
from tests.servers.stores import drop_stores


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Yield a server of the newest PostgreSQL here, which the tests of this process share."""
    try:
        with running(newest) as server:
            yield server
    except MissingServer as error:
        missing(error)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a server: the shared one, or the one that KOKUGEN_TEST_POSTGRES names."""
    if url := os.environ.get(URL_VARIABLE):
        yield url
        drop_stores(url)
    else:
        yield request.getfixturevalue("postgres_server").url


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[str]:
    """Yield the URL of a server of an older version, where the system has it."""
    with running(lambda: installed(15)) as server:
        yield server.url


@pytest.fixture(scope="session")
def pooler(postgres_server: PostgresServer) -> Iterator[Pooler]:
    """Yield a pooler in front of the shared server."""
    with pooling(postgres_server.socket) as one:
        yield one


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the URL of a PgBouncer in front of the shared server, where the system has it."""
    with bouncing(postgres_server.folder) as url:
        yield url


def missing(error: MissingServer) -> None:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))
