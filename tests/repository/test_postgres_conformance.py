"""The PostgreSQL repository keeps the contract of repositories: on the newest server, an old one, behind poolers."""

from pathlib import Path

import pytest

from kokugen.clock import Clock
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.testing import RepositorySuite
from tests.servers.pgbouncer import PROGRAM
from tests.servers.pooler import Pooler
from tests.servers.postgres import PostgresServer, is_installed
from tests.servers.stores import emptied_store


class TestPostgres(RepositorySuite):
    url: str

    @pytest.fixture(autouse=True)
    def _empty_store(self, postgres: str) -> None:
        self.url = emptied_store(postgres)

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return PostgresRepository(self.url, namespace=namespace, clock=clock)


@pytest.mark.skipif(not is_installed(15), reason="PostgreSQL 15 is not installed here")
class TestPostgres15(TestPostgres):
    @pytest.fixture(autouse=True)
    def _empty_store(self, postgres_15: str) -> None:
        self.url = emptied_store(postgres_15)


class TestPostgresPooled(TestPostgres):
    """Behind a pooler that lends another session for every transaction."""

    @pytest.fixture(autouse=True)
    def _empty_store(self, pooler: Pooler, postgres_server: PostgresServer) -> None:
        self.url = emptied_store(pooler.url, postgres_server.url)


@pytest.mark.once
@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed here")
class TestPostgresBehindPgBouncer(TestPostgres):
    @pytest.fixture(autouse=True)
    def _empty_store(self, pgbouncer: str, postgres_server: PostgresServer) -> None:
        self.url = emptied_store(pgbouncer, postgres_server.url)
