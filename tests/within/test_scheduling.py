"""`within`: rolled back means never scheduled, committed means as if the scheduler had scheduled it; on every kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kokugen import AsyncScheduler, Middleware, Retry, Scheduler, TaskInfo, TaskParam
from kokugen.errors import DuplicateTaskError, NoEntryError, OptionError, ScheduledTimeError, WorkArgumentsError
from kokugen.middleware.base import ScheduleNext, ScheduleRequest
from kokugen.reply import Reply
from kokugen.task import replace
from tests.within.conftest import MakeStore, noted
from tests.within.places import ASYNC, SYNC, Opens, OpensAsync, Place, note_of

LATER = datetime.now(UTC) + timedelta(days=1)
HOUR = timedelta(hours=1)
KINDS = [(scheme, opens) for scheme, kinds in SYNC.items() for opens in kinds]
NAMES = [f"{scheme}-{opens.__name__}" for scheme, opens in KINDS]
STORE_FIELDS = {"id": "", "last_modified": None, "created_at": None}
"""What differs between two tasks that were scheduled alike."""


def param(**given: Any) -> TaskParam:
    return TaskParam(**{"work_id": "remind", "param": {"who": "Ann"}, "scheduled_time": LATER, **given})


@pytest.fixture(params=KINDS, ids=NAMES)
def kind(request: pytest.FixtureRequest) -> tuple[str, Opens]:
    found: tuple[str, Opens] = request.param
    return found


@pytest.fixture
def url(kind: tuple[str, Opens], store: MakeStore) -> str:
    return store(kind[0])


@pytest.fixture
def scheduler(url: str) -> Iterator[Scheduler]:
    one = Scheduler(url)

    @one.work
    def remind(who: str) -> None: ...

    yield one
    one.close()


@pytest.fixture
def place(kind: tuple[str, Opens], url: str, scheduler: Scheduler) -> Iterator[Place]:
    scheduler.open()
    with kind[1](url) as one:
        yield one


def test_what_is_rolled_back_was_never_scheduled(scheduler: Scheduler, place: Place, url: str) -> None:
    place.execute(f"INSERT INTO {note_of(url)} VALUES ('mine')")
    task = scheduler.within(place.connection).schedule(param())
    assert scheduler.count() == 0
    place.rollback()
    assert (scheduler.count(), noted(url)) == (0, [])
    with pytest.raises(NoEntryError):
        task.info()


def test_what_is_committed_is_there_with_what_was_written_beside_it(
    scheduler: Scheduler, place: Place, url: str
) -> None:
    place.execute(f"INSERT INTO {note_of(url)} VALUES ('mine')")
    task = scheduler.within(place.connection).schedule(param())
    assert (scheduler.count(), noted(url)) == (0, [])
    place.commit()
    assert noted(url) == ["mine"]
    assert [info.id for info in scheduler.tasks()] == [task.id]


def test_a_task_is_stored_as_the_scheduler_itself_stores_it(scheduler: Scheduler, place: Place) -> None:
    asked = param(
        priority=2, tags=("a", "b"), start_within=HOUR, retry=Retry(3), timeout=HOUR, param={"who": "ü" * 2000}
    )
    task = scheduler.within(place.connection).schedule(asked)
    place.commit()
    assert stripped(scheduler.get(task.id)) == stripped(scheduler.schedule(asked).info())


def stripped(info: TaskInfo) -> TaskInfo:
    stored: TaskInfo = replace(info, **STORE_FIELDS)
    return stored


def test_calls_of_declared_work_are_scheduled_at_and_after(scheduler: Scheduler, place: Place) -> None:
    work = scheduler.works.load("remind")
    transaction = scheduler.within(place.connection)
    at: Any = transaction.at(LATER, work, "Ann")  # type: ignore[arg-type]
    transaction.after(HOUR, work, who="Bob")  # type: ignore[arg-type]
    place.commit()
    assert [info.param.kwargs or info.param.args for info in scheduler.tasks()] == [{"who": "Bob"}, ("Ann",)]
    assert at.info().scheduled_time == LATER


def test_many_are_scheduled_or_none(scheduler: Scheduler, place: Place) -> None:
    handles = scheduler.within(place.connection).schedule_many(param(id=f"task-{n:04d}") for n in range(1201))
    place.commit()
    assert [handle.id for handle in handles] == [info.id for info in scheduler.tasks()]


def test_a_taken_unique_key_leaves_the_transaction_usable(scheduler: Scheduler, place: Place) -> None:
    taken = scheduler.within(place.connection)
    first = taken.schedule(param(unique="ann"))
    with pytest.raises(DuplicateTaskError) as refused:
        taken.schedule_many([param(unique="ann"), param(id="other")])
    assert refused.value.existing_id == first.id
    place.commit()
    assert {info.id for info in scheduler.tasks()} == {first.id, "other"}


def test_an_id_that_is_there_already_changes_nothing(scheduler: Scheduler, place: Place) -> None:
    scheduler.within(place.connection).schedule(param(id="one"))
    again = scheduler.within(place.connection).schedule(param(id="one", param={"who": "Bob"}))
    place.commit()
    assert (again.id, [info.param.kwargs for info in scheduler.tasks()]) == ("one", [{"who": "Ann"}])


def test_what_is_refused_writes_nothing_and_leaves_the_transaction_usable(scheduler: Scheduler, place: Place) -> None:
    transaction = scheduler.within(place.connection)
    with pytest.raises(WorkArgumentsError):
        transaction.schedule_many([param(), param(param={"whom": "Ann"})])
    with pytest.raises(OptionError):
        transaction.schedule_many([param(), param(queue="")])
    with pytest.raises(ScheduledTimeError):
        transaction.schedule(param(scheduled_time=datetime(2030, 1, 1)))  # noqa: DTZ001 - it is refused for that
    task = transaction.schedule(param())
    place.commit()
    assert [info.id for info in scheduler.tasks()] == [task.id]


# -- Async connections


@pytest.fixture
async def async_scheduler(postgres_store: str) -> Any:
    one = AsyncScheduler(postgres_store)

    @one.work
    async def remind(who: str) -> None: ...

    yield one
    await one.close()


@pytest.mark.parametrize("opens", ASYNC)
async def test_an_async_connection_is_as_good(
    opens: OpensAsync, async_scheduler: AsyncScheduler, postgres_store: str
) -> None:
    async with opens(postgres_store) as place:
        await place.execute(f"INSERT INTO {note_of(postgres_store)} VALUES ('never')")
        await async_scheduler.within(place.connection).schedule(param(id="never"))
        await place.rollback()
    async with opens(postgres_store) as place:
        await place.execute(f"INSERT INTO {note_of(postgres_store)} VALUES ('mine')")
        transaction = async_scheduler.within(place.connection)
        many = await transaction.schedule_many([param(id="a", unique="u"), param(id="b")])
        with pytest.raises(DuplicateTaskError):
            await transaction.schedule(param(unique="u"))
        with pytest.raises(WorkArgumentsError):
            await transaction.schedule(param(param={"whom": "Ann"}))
        assert await async_scheduler.count() == 0
        await place.commit()
    assert [handle.id for handle in many] == [info.id async for info in async_scheduler.tasks()] == ["a", "b"]


async def test_an_async_scheduler_takes_a_sync_connection(store: MakeStore) -> None:
    url = store("sqlite")
    scheduler = AsyncScheduler(url)
    with SYNC["sqlite"][0](url) as place:
        await scheduler.within(place.connection).schedule(param(id="one"))
        place.commit()
    assert await scheduler.count() == 1
    await scheduler.close()


# -- Middleware


class Rename(Middleware):
    """Schedules other work, and notes the id that came of it."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if request.work_id == "forbidden":
            raise PermissionError(request.work_id)
        return call_next(replace(request, work_id="other")).then(self._note)

    def _note(self, handle: Any) -> Any:
        self.ids.append(handle.id)
        return handle


def test_a_task_goes_through_the_schedulers_middleware(store: MakeStore) -> None:
    url, middleware = store("sqlite"), Rename()
    scheduler = Scheduler(url, middleware=[middleware])
    with SYNC["sqlite"][0](url) as place:
        transaction = scheduler.within(place.connection)
        with pytest.raises(PermissionError):
            transaction.schedule_many([param(), param(work_id="forbidden")])
        task = transaction.schedule(param())
        place.commit()
    assert [(info.id, info.work_id) for info in scheduler.tasks()] == [(task.id, "other")]
    assert middleware.ids == [task.id]
    scheduler.close()
