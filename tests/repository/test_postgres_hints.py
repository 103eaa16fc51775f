"""Hints between nodes: what one makes due soon the others hear of at once, and none of it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import asyncpg
import pytest

from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.hints import Hints
from kokugen.repository.protocol import STOP_ASKED
from kokugen.repository.rows import CancelRequest, ClaimRequest, NewTask, Revision
from kokugen.testing import ManualClock
from kokugen.testing.suite.lab import SECOND_US, ask
from tests.servers.pooler import Pooler
from tests.servers.postgres import PostgresServer
from tests.servers.stores import emptied_store, query

PATIENCE_S = 20
Open = Callable[..., PostgresRepository]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url(postgres: str) -> str:
    return emptied_store(postgres)


@pytest.fixture
def open_store(url: str, clock: ManualClock) -> Iterator[Open]:
    opened: list[PostgresRepository] = []

    def open_one(at: str = url, namespace: str = "default") -> PostgresRepository:
        opened.append(PostgresRepository(at, namespace=namespace, clock=clock))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


class Ear:
    """A node that listens, and what it hears."""

    def __init__(self, store: PostgresRepository) -> None:
        self.store = store
        self.heard: SimpleQueue[int] = SimpleQueue()
        store.listen(self.heard.put)

    def hears(self, due_us: int) -> bool:
        """Wait until it hears of a task that is due then; what else it hears before does not matter."""
        while self.heard.get(timeout=PATIENCE_S) != due_us:
            pass
        return True


@pytest.fixture
def ear(open_store: Open, url: str) -> Ear:
    """Another node, which certainly listens."""
    one = Ear(open_store())
    until_listening(url, 1)
    return one


def until_listening(url: str, sessions: int) -> None:
    """Wait until so many sessions listen to the store."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'"
    server = url.partition("&schema=")[0]
    for _ in range(2000):
        if query(server, sql)[0][0] >= sessions:
            return
    raise AssertionError("nobody listens")


def task(number: int, due_at: int) -> NewTask:
    return NewTask(id=f"00000000-0000-7000-8000-{number:012d}", work_id="w", due_at=due_at, scheduled_time=due_at)


def test_other_nodes_hear_that_runs_were_asked_to_stop_and_not_of_other_cancellations(
    open_store: Open, ear: Ear, clock: ManualClock
) -> None:
    store, far = open_store(), clock.wall_us() + 3600 * SECOND_US
    ask(store.add([task(1, clock.wall_us()), task(2, far)]))
    assert [run.id for run in ask(store.claim(ClaimRequest(node_id="n", nonce="c", slots=1))).tasks] == [task(1, 0).id]
    ask(store.cancel(CancelRequest(ids=(task(2, 0).id,))))
    ask(store.add([task(3, clock.wall_us())]))
    assert ear.hears(clock.wall_us())
    assert ear.heard.empty()
    ask(store.cancel(CancelRequest(ids=(task(1, 0).id,))))
    assert ear.hears(STOP_ASKED)


def test_other_nodes_hear_of_a_task_that_is_due_soon(open_store: Open, ear: Ear, clock: ManualClock) -> None:
    due_at = clock.wall_us() + SECOND_US
    ask(open_store().add([task(1, due_at)]))
    assert ear.hears(due_at)


def test_other_nodes_hear_of_a_task_that_was_moved_to_now(open_store: Open, ear: Ear, clock: ManualClock) -> None:
    other = open_store()
    ask(other.add([task(1, clock.wall_us() + 3600 * SECOND_US)]))
    ask(other.revise(task(1, 0).id, Revision(due_at=clock.wall_us() + 5)))
    assert ear.hears(clock.wall_us() + 5)


def test_of_what_is_due_later_nobody_is_told(open_store: Open, ear: Ear, clock: ManualClock) -> None:
    other = open_store()
    ask(other.add([task(1, clock.wall_us() + 3600 * SECOND_US)]))
    ask(other.add([task(2, clock.wall_us() + 1)]))
    assert ear.heard.get(timeout=PATIENCE_S) == clock.wall_us() + 1


def test_a_node_hears_each_of_its_own_tasks_once(open_store: Open, ear: Ear, clock: ManualClock) -> None:
    now, other = clock.wall_us(), open_store()
    for number in range(1, 7):
        ask((ear.store, other)[number % 2].add([task(number, now + number)]))
        assert ear.heard.get(timeout=PATIENCE_S) == now + number
    ask(other.add([task(7, now + 7)]))
    assert ear.heard.get(timeout=PATIENCE_S) == now + 7


def test_a_node_of_another_namespace_hears_nothing(open_store: Open, ear: Ear, clock: ManualClock) -> None:
    now = clock.wall_us()
    ask(open_store(namespace="other").add([task(1, now + 1)]))
    ask(open_store().add([task(2, now + 2)]))
    assert ear.heard.get(timeout=PATIENCE_S) == now + 2


def test_many_tasks_at_once_are_few_notifications(open_store: Open, ear: Ear, clock: ManualClock) -> None:
    """NOTIFY takes a lock of the whole server: it is sent by one task at a time, for all that came meanwhile."""
    other = open_store()
    now = clock.wall_us()
    replies = [other.add([task(number, now + 1000 - number)]) for number in range(500)]
    for reply in replies:
        ask(reply)
    assert ear.hears(now + 1000 - 499)
    assert ear.heard.qsize() < 100


def test_a_listener_that_lost_its_connection_listens_again_and_looks(
    open_store: Open, ear: Ear, clock: ManualClock, postgres: str
) -> None:
    query(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    assert ear.hears(0)
    due_at = clock.wall_us() + 7
    ask(open_store().add([task(1, due_at)]))
    assert ear.hears(due_at)


@pytest.mark.parametrize("payload", ["", "x", "a b c", "name 12x default", "name  default", "ü 五 default", "n 5"])
def test_a_notification_that_is_none_is_passed_over(open_store: Open, ear: Ear, url: str, payload: str) -> None:
    async def send() -> None:
        link: Any = await asyncpg.connect(url.partition("&schema=")[0])
        channel = f"kokugen:{url.partition('schema=')[2]}"
        await link.execute("SELECT pg_notify($1, $2)", channel, payload)
        await link.execute("SELECT pg_notify($1, $2)", channel, "someone 77 default")
        await link.close()

    asyncio.run(send())
    assert ear.heard.get(timeout=PATIENCE_S) == 77


def test_behind_a_pooler_nobody_listens_and_those_before_it_hear(
    open_store: Open, clock: ManualClock, pooler: Pooler, postgres_server: PostgresServer
) -> None:
    direct = Ear(open_store(emptied_store(postgres_server.url)))
    until_listening(emptied_store(postgres_server.url), 1)
    pooled = open_store(emptied_store(pooler.url, postgres_server.url))
    heard: SimpleQueue[int] = SimpleQueue()
    pooled.listen(heard.put)
    now = clock.wall_us()
    ask(pooled.add([task(1, now + 1)]))
    assert heard.get(timeout=PATIENCE_S) == now + 1
    assert direct.hears(now + 1)
    ask(direct.store.add([task(2, now + 2)]))
    assert heard.empty()


async def test_what_is_said_besides_takes_nothing_from_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    hints, sent = Hints(parse("postgresql://nowhere/none"), "default", "me", ManualClock()), list[int]()

    async def send(_: object, due_us: int) -> None:
        sent.append(due_us)

    monkeypatch.setattr(hints, "_send", send)
    for due_us in (7, STOP_ASKED, 5):
        hints.tell(asyncio.get_running_loop(), None, due_us)  # type: ignore[arg-type]
    await hints.told()
    assert sorted(sent) == [STOP_ASKED, 5]
