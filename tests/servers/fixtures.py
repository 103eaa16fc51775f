"""The servers that tests share. A missing one is a skip that says what to install, and a failure where CI=true."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.postgres import URL_VARIABLE, MissingServer, installed, newest, running
from tests.servers.stores import drop_stores


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server: the packaged one, or the one that KOKUGEN_TEST_POSTGRES names."""
    if url := os.environ.get(URL_VARIABLE):
        yield url
        drop_stores(url)
        return
    try:
        with running(newest) as server:
            yield server.url
    except MissingServer as error:
        missing(error)


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[str]:
    """Yield the URL of a server of an older version, where the system has it."""
    with running(lambda: installed(15)) as server:
        yield server.url


def missing(error: MissingServer) -> None:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))
