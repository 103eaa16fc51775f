"""Every kind of store, empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kokugen.repository.memory import MemoryRepository
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.library import Standard
from kokugen.testing import ManualClock
from tests.servers.stores import emptied_store

KINDS = ("memory", "sqlite", "sqlite+sqlite3", "postgresql")
Open = Callable[..., Any]


@pytest.fixture(params=KINDS)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open the store of the test for a namespace; a store in memory has one alone."""
    opened: list[Any] = []
    url = emptied_store(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    clock = ManualClock()

    def open_(namespace: str = "default") -> Any:
        about: dict[str, Any] = {"namespace": namespace, "clock": clock}
        if request.param == "memory":
            store: Any = MemoryRepository(**about)
        elif request.param == "postgresql":
            store = PostgresRepository(url, **about)
        else:
            library = None if request.param == "sqlite" else Standard()
            store = SQLiteRepository(tmp_path / "tasks.db", library=library, **about)
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.close()
