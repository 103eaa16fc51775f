"""A commit wakes the nodes: where the poll would find the task much later, it runs all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import asyncpg
import psycopg
import pytest

from kokugen import Scheduler, Settings
from kokugen.clock import to_us
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.library import Apsw, Library, Standard
from tests.servers.stores import query
from tests.within.conftest import MakeStore
from tests.within.places import SYNC, Opens, file_of, server_of

PATIENCE = timedelta(seconds=30)
RARELY = Settings(poll_s=600.0)
KINDS = [(scheme, kinds[0]) for scheme, kinds in SYNC.items()]


def until_listened(url: str) -> None:
    """Wait until somebody listens to the store: what is told before is for the poll to find."""
    channel = f"kokugen:{url.partition('schema=')[2]}"
    sql = "SELECT FROM pg_stat_activity WHERE state = 'idle' AND query = format('LISTEN %I', $1::text)"
    for _ in range(5000):
        if query(server_of(url), sql, channel):
            return
    raise AssertionError("nobody listens")


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(("scheme", "opens"), KINDS)
def test_a_task_that_is_due_runs_once_its_transaction_is_committed(
    scheme: str, opens: Opens, elsewhere: bool, store: MakeStore
) -> None:
    url = store(scheme)
    worker = Scheduler(url, settings=RARELY)

    @worker.work
    def remind(who: str) -> str:
        return who

    with worker, closing(Scheduler(url, works=worker.works)) as other, opens(url) as place:
        if scheme == "postgresql":
            until_listened(url)
        scheduler = other if elsewhere else worker
        task = scheduler.within(place.connection).after(timedelta(0), remind, "Ann")
        place.commit()
        assert worker.result(task.id, PATIENCE) == "Ann"


def test_other_processes_hear_of_it_at_the_commit_and_not_before(postgres_store: str) -> None:
    heard: SimpleQueue[int] = SimpleQueue()
    repository = PostgresRepository(postgres_store)
    repository.listen(heard.put)
    until_listened(postgres_store)
    scheduler = Scheduler(postgres_store)

    @scheduler.work
    def remind() -> None: ...

    with psycopg.connect(server_of(postgres_store)) as link:
        scheduler.within(link).after(timedelta(0), remind)
        scheduler.after(timedelta(0), remind)  # what is told of this one comes first
        heard.get(timeout=PATIENCE.total_seconds())
        assert heard.empty()
        link.commit()
        heard.get(timeout=PATIENCE.total_seconds())
    scheduler.close()
    repository.close()


@pytest.mark.parametrize(("scheme", "library"), [("sqlite", Apsw), ("sqlite+sqlite3", Standard)])
def test_other_processes_are_rung_for_when_the_file_is_free_again(
    scheme: str, library: Callable[[], Library], store: MakeStore
) -> None:
    url, heard = store(scheme), SimpleQueue[int]()
    other = SQLiteRepository(file_of(url), library=library())
    other.listen(heard.put)
    scheduler = Scheduler(url)

    @scheduler.work
    def remind() -> None: ...

    with SYNC[scheme][0](url) as place:
        task = scheduler.within(place.connection).after(timedelta(0), remind)
        place.commit()
    due_us = to_us(task.scheduled_time)
    while heard.get(timeout=PATIENCE.total_seconds()) != due_us:
        pass  # what it notices by itself has no time
    scheduler.close()
    other.close()


async def notifications(url: str, tell: Any) -> list[str]:
    """Return what is notified while `tell` is done."""
    link, marked, told = await asyncpg.connect(server_of(url)), asyncio.Event(), list[str]()

    def note(_link: Any, _pid: int, _channel: str, payload: str) -> None:
        marked.set() if payload == "marker" else told.append(payload)

    channel = f"kokugen:{url.partition('schema=')[2]}"
    await link.add_listener(channel, note)
    await asyncio.to_thread(tell)
    await link.execute("SELECT pg_notify($1, 'marker')", channel)
    await marked.wait()
    await link.close()
    return told


async def test_nobody_is_told_of_what_is_due_much_later_or_was_there_already(postgres_store: str) -> None:
    scheduler = Scheduler(postgres_store)

    @scheduler.work
    def remind() -> None: ...

    def tell() -> None:
        with psycopg.connect(server_of(postgres_store)) as link:
            scheduler.within(link).after(timedelta(hours=1), remind)
            scheduler.within(link).after(timedelta(0), remind.options(id="there"))

    await asyncio.to_thread(scheduler.after, timedelta(0), remind.options(id="there"))
    told = await notifications(postgres_store, tell)
    assert [one for one in told if one.startswith("within")] == []
    scheduler.close()
