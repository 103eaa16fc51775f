"""The SQLite repository keeps the contract of repositories, with either library."""

from pathlib import Path

from kokugen.clock import Clock
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.library import Standard
from kokugen.testing import RepositorySuite


class TestSQLite(RepositorySuite):
    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return SQLiteRepository(folder / "tasks.db", namespace=namespace, clock=clock)


class TestSQLiteOfTheStandardLibrary(RepositorySuite):
    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return SQLiteRepository(folder / "tasks.db", namespace=namespace, clock=clock, library=Standard())
