from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from kokugen.errors import InvalidEntryError
from kokugen.task import TaskInfo
from kokugen.task_storage.feed import ChangeFeed
from tests.task_storage.seed_repository import START, SeedRepository


async def read(feed: ChangeFeed) -> list[str]:
    found = []
    async for info in feed.changes():
        feed.learn(info)
        found.append(info.id)
    return found


async def test_every_part_is_read_once_and_a_second_pass_finds_only_what_changed() -> None:
    repository = SeedRepository(part_max=4)
    ids = [repository.put() for _ in range(30)]
    feed = ChangeFeed(repository.get_updated_since)
    assert await read(feed) == ids
    repository.change("t3")
    assert await read(feed) == ["t3"]
    assert await read(feed) == []


async def test_a_row_that_was_committed_late_with_an_older_time_is_seen() -> None:
    repository = SeedRepository()
    repository.put()
    feed = ChangeFeed(repository.get_updated_since)
    await read(feed)
    late = repository.put(last_modified=repository.now - timedelta(seconds=50))
    assert await read(feed) == [late]


async def test_what_was_not_learned_comes_again() -> None:
    repository = SeedRepository()
    repository.put()
    feed = ChangeFeed(repository.get_updated_since)
    assert {info.id async for info in feed.changes()} == {"t1"}
    assert await read(feed) == ["t1"]


@pytest.mark.parametrize("part_max", [1, 2, 3, 7])
async def test_equal_instants_of_a_store_that_keeps_seconds_are_got_past(part_max: int) -> None:
    repository = SeedRepository(part_max=part_max)
    first = [repository.put(last_modified=START) for _ in range(part_max)]
    later = [repository.put() for _ in range(5)]

    async def by_seconds(since: datetime) -> Sequence[TaskInfo]:
        return await repository.get_updated_since(since.replace(microsecond=0))

    found = await read(ChangeFeed(by_seconds))
    assert found == first + later


@pytest.mark.parametrize("modified", [None, datetime(2024, 1, 1)])  # noqa: DTZ001
async def test_a_row_without_a_usable_time_of_change_is_refused(modified: datetime | None) -> None:
    info = TaskInfo(id="t1", work_id="x", scheduled_time=START, last_modified=modified)

    async def fetch(since: datetime) -> Sequence[TaskInfo]:
        return [info]

    with pytest.raises((InvalidEntryError, TypeError)):
        await read(ChangeFeed(fetch))
