"""The tasks that a scheduler has in memory, by their id in the repository."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class TaskMap(Generic[V]):
    """The seed's `TaskMap`: a thread-safe map whose compound steps are atomic."""

    __slots__ = ("_lock", "_tasks")

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks: dict[str, V] = {}

    def all_ids(self) -> list[str]:
        """Return the ids that are there now."""
        with self._lock:
            return list(self._tasks)

    def clone(self) -> TaskMap[V]:
        """Return a copy; neither sees later changes of the other."""
        copy: TaskMap[V] = TaskMap()
        with self._lock:
            copy._tasks = dict(self._tasks)
        return copy

    def has(self, key: str) -> bool:
        """Return whether this id is there."""
        return key in self._tasks

    __contains__ = has

    def load(self, key: str) -> V | None:
        """Return the task with this id, None where there is none."""
        return self._tasks.get(key)

    def delete(self, key: str) -> bool:
        """Take an id out and return whether it was there."""
        return self.load_and_delete(key)[1]

    def load_and_delete(self, key: str) -> tuple[V | None, bool]:
        """Take an id out; return its task, or None, and whether it was there: of several callers, one gets True."""
        with self._lock:
            loaded = key in self._tasks
            return self._tasks.pop(key, None), loaded

    def load_or_store(self, key: str, task: V) -> tuple[V, bool]:
        """Return the task that is there and True; where there is none, put `task` there and return it and False."""
        with self._lock:
            loaded = key in self._tasks
            return self._tasks.setdefault(key, task), loaded

    def __len__(self) -> int:
        """Return how many tasks are there."""
        return len(self._tasks)

    len = __len__
