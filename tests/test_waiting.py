"""Waiting for ends: one look for all who wait, and hints from other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from kokugen import AsyncScheduler, Scheduler, TaskState
from kokugen.clock import SystemClock
from kokugen.errors import NoEntryError, RepositoryUnavailableError, WaitTimeoutError
from kokugen.reply import Reply
from kokugen.repository.locate import open_repository
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import ENDED, DurableRepository
from kokugen.repository.rows import CancelRequest, ClaimRequest, Finish, NewTask, Retention
from kokugen.task import TaskInfo
from kokugen.testing.suite.lab import ask
from tests.servers.stores import emptied_store

LATER = timedelta(hours=1)
MOMENT = timedelta(milliseconds=20)
WITHIN = timedelta(seconds=30)
PATIENCE_S = 30.0
FAR = 1 << 52


class Counted(MemoryRepository):
    """Remembers what it was asked, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[int] = []
        self.gets: list[int] = []
        self.failing = False

    def over(self, task_ids: Sequence[str]) -> Reply[list[str]]:
        self.looks.append(len(task_ids))
        if self.failing:
            return Reply.failed(RepositoryUnavailableError("it is away"))
        return super().over(task_ids)

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        self.gets.append(len(task_ids))
        return super().get(task_ids)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def scheduler(counted: Counted) -> Iterator[Scheduler]:
    one = Scheduler(repository=counted)
    yield one
    one.close()


def waiting(repository: DurableRepository, count: int) -> list[str]:
    """Add tasks that are due in a far future; return their ids."""
    rows = [NewTask(id=f"task-{n}", work_id="w", due_at=FAR, scheduled_time=FAR) for n in range(count)]
    return [added.id for added in ask(repository.add(rows))]


def test_all_who_wait_share_one_look(scheduler: Scheduler, counted: Counted) -> None:
    ids = waiting(counted, 1000)
    replies = [scheduler._front.waits.wait(task_id) for task_id in ids for _ in range(2)]
    ask(counted.cancel(CancelRequest(ids=tuple(ids))))
    assert {reply.result(PATIENCE_S).state for reply in replies} == {TaskState.CANCELLED}
    assert counted.gets == [1000]
    assert counted.looks[-1] == 1000
    assert not any(looked > 1000 for looked in counted.looks)


def test_many_more_than_one_look_asks_for_have_their_turn(scheduler: Scheduler, counted: Counted) -> None:
    ids = waiting(counted, 12_000)
    replies = [scheduler._front.waits.wait(task_id) for task_id in ids]
    ask(counted.cancel(CancelRequest(ids=(ids[0], ids[-1]))))
    assert replies[0].result(PATIENCE_S).id == ids[0]
    assert replies[-1].result(PATIENCE_S).id == ids[-1]
    assert max(counted.looks) == 5000


def test_who_waits_no_more_is_not_looked_for(scheduler: Scheduler, counted: Counted) -> None:
    first, second = waiting(counted, 2)
    with pytest.raises(WaitTimeoutError, match="Initialized"):
        scheduler.wait(first, MOMENT)
    counted.looks.clear()
    reply = scheduler._front.waits.wait(second)
    ask(counted.cancel(CancelRequest(ids=(second,))))
    assert reply.result(PATIENCE_S).id == second
    assert set(counted.looks) == {1}


def test_a_task_that_is_deleted_meanwhile_ends_the_wait(scheduler: Scheduler, counted: Counted) -> None:
    (task_id,) = waiting(counted, 1)
    reply = scheduler._front.waits.wait(task_id)
    with counted._lock:
        record = counted._table.records[task_id]
        counted._table.end(record, TaskState.DONE, 1)
        counted._table.remove(record)
    with pytest.raises(NoEntryError):
        reply.result(PATIENCE_S)
    assert ask(counted.prune(Retention(done_before=0, cancelled_before=0, failed_before=0))) == 0


def test_where_the_store_cannot_be_read_the_wait_says_so(scheduler: Scheduler, counted: Counted) -> None:
    (task_id,) = waiting(counted, 1)
    counted.failing = True
    with pytest.raises(RepositoryUnavailableError, match="away"):
        scheduler.wait(task_id, WITHIN)


def test_threads_and_coroutines_wait_for_the_same_task(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    other = Scheduler(url)
    (task_id,) = waiting(other.repository, 1)

    async def wait() -> TaskInfo:
        async with AsyncScheduler(url) as scheduler:
            asking = [asyncio.create_task(scheduler.wait(task_id, WITHIN)) for _ in range(3)]
            given_up = asyncio.create_task(scheduler.wait(task_id))
            await asyncio.sleep(0)
            given_up.cancel()
            Thread(target=other.cancel, args=(task_id,)).start()
            return (await asyncio.gather(*asking))[0]

    assert asyncio.run(wait()).state is TaskState.CANCELLED
    other.close()


@pytest.mark.parametrize("kind", ["sqlite", "sqlite+sqlite3", "postgres"])
def test_who_waits_is_told_by_the_process_in_which_a_task_ends(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"{kind}:///{tmp_path / 'tasks.db'}"
    if kind == "postgres":
        url = emptied_store(request.getfixturevalue("postgres"))
    running, looking = (open_repository(url, namespace="default", clock=SystemClock()) for _ in range(2))
    ended = Event()
    running.listen(lambda _: None)
    looking.listen(lambda due_us: ended.set() if due_us == ENDED else None)
    for number in range(300):  # a hint may be lost, and the first may come before the other listens
        looking.ask_for_ends()
        ask(running.add([NewTask(id=f"task-{number}", work_id="w", due_at=0, scheduled_time=0)]))
        (run,) = ask(running.claim(ClaimRequest(node_id="node", nonce=f"{number:032x}", slots=1))).tasks
        ask(running.finish([Finish(id=run.id, claim=f"{number:032x}", state=TaskState.DONE, outcome="done")]))
        if ended.wait(0.1):
            break
    running.close()
    looking.close()
    assert ended.is_set()
