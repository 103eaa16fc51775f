"""The PostgreSQL repository keeps the contract of repositories, on the newest server here and on an old one."""

from pathlib import Path

import pytest

from kokugen.clock import Clock
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.testing import RepositorySuite
from tests.servers.postgres import is_installed
from tests.servers.stores import store_url


class TestPostgres(RepositorySuite):
    server: str

    @pytest.fixture(autouse=True)
    def _on_a_server(self, postgres: str) -> None:
        self.server = postgres

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return PostgresRepository(store_url(self.server, folder), namespace=namespace, clock=clock)


@pytest.mark.skipif(not is_installed(15), reason="PostgreSQL 15 is not installed here")
class TestPostgres15(TestPostgres):
    @pytest.fixture(autouse=True)
    def _on_a_server(self, postgres_15: str) -> None:
        self.server = postgres_15
