"""Stores to schedule into from a transaction, and the user's own table beside them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from kokugen import Scheduler
from tests.servers.stores import emptied_store, query
from tests.within.places import file_of, note_of, server_of

MakeStore = Callable[[str], str]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Return what makes a store of a scheme, empty, with the user's table `note` beside it, and returns its URL."""

    def make(scheme: str) -> str:
        if scheme == "postgresql":
            url = emptied_store(request.getfixturevalue("postgres"))
        else:
            url = f"{scheme}:///{tmp_path / 'store.db'}"
        with closing(Scheduler(url)) as scheduler:
            scheduler.open()
        notes(url, f"CREATE TABLE IF NOT EXISTS {note_of(url)} (text TEXT NOT NULL)")
        return url

    return make


def noted(url: str) -> list[str]:
    """Return what others see in the user's table."""
    return notes(url, f"SELECT text FROM {note_of(url)}")


def notes(url: str, sql: str) -> list[str]:
    """Run SQL in the database of a store, and return the first column."""
    if url.startswith("postgresql"):
        return [row[0] for row in query(server_of(url), sql)]
    if url.startswith("sqlite+sqlite3"):
        with closing(sqlite3.connect(file_of(url), isolation_level=None)) as lite:
            return [row[0] for row in lite.execute(sql)]
    with closing(apsw.Connection(str(file_of(url)))) as db:
        return [row[0] for row in db.execute(sql)]


@pytest.fixture
def postgres_store(store: MakeStore) -> str:
    """Return the URL of an empty store on a server."""
    return store("postgresql")
