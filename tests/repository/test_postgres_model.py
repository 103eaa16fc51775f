"""Any sequence of calls: the PostgreSQL repository and a simple model of one agree (see `test_model`)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from hypothesis.stateful import run_state_machine_as_test

from kokugen.clock import Clock
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.protocol import DurableRepository
from tests.repository.test_model import SETTINGS, Comparison
from tests.servers.stores import store_url


class PostgresComparison(Comparison):
    keeps = True
    server: ClassVar[str]

    def make(self, clock: Clock, folder: Path) -> DurableRepository:
        return PostgresRepository(store_url(self.server, folder), clock=clock)


def test_the_repository_and_the_model_agree(postgres: str) -> None:
    PostgresComparison.server = postgres
    run_state_machine_as_test(PostgresComparison, settings=SETTINGS)
