from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kokugen.registry.functions import FunctionRegistry
from kokugen.task_storage.mirror import MirroredTasks
from kokugen.task_storage.multi_node import MultiNodeTaskStorage
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from tests.task_storage.memory_scheduler import MemoryScheduler
from tests.task_storage.seed_repository import SeedRepository, SharedSeedRepository


class Node:
    """One process: a task storage over a repository, its scheduler, and the work that ran there."""

    def __init__(self, repository: SeedRepository, *, free_param: bool = False, **keywords: Any) -> None:
        self.repository = repository
        self.works = FunctionRegistry()
        self.ran: list[str] = []
        self.work: Callable[[str], Any] = lambda who: None
        self.works.work(id="remind")(self._remind)
        self.works.work(id="aremind")(self._aremind)
        kind = MultiNodeTaskStorage if isinstance(repository, SharedSeedRepository) else SingleNodeTaskStorage
        self.storage = kind(repository, work_registry=self.works, **keywords)
        self.scheduler = MemoryScheduler(self.works, self.storage.middleware(free_param=free_param))

    @property
    def mirror(self) -> MirroredTasks:
        assert self.storage._mirror is not None
        return self.storage._mirror

    def _remind(self, who: str = "Ann") -> Any:
        self.ran.append(who)
        return self.work(who)

    async def _aremind(self, who: str = "Ann") -> Any:
        self.ran.append(who)
        return self.work(who)

    async def sync(self) -> tuple[dict[str, Any], dict[str, Exception]]:
        return await self.storage.sync(self.scheduler.schedule_request)


NewNode = Callable[..., Node]


@pytest.fixture
def new_node() -> Iterator[NewNode]:
    nodes: list[Node] = []

    def make(repository: SeedRepository, **keywords: Any) -> Node:
        nodes.append(Node(repository, **keywords))
        return nodes[-1]

    yield make
    for node in nodes:
        node.storage.close()


@pytest.fixture
def repository() -> SeedRepository:
    return SeedRepository()


@pytest.fixture
def shared() -> SharedSeedRepository:
    return SharedSeedRepository()
