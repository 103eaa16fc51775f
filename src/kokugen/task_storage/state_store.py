"""Task ids and the states that are still to be written for them: the marks that failed.

A task storage puts a mark here that its repository did not take; `retry_marking` empties it.
"""

from __future__ import annotations

from threading import Lock

from kokugen.task import TaskState, TaskStateSet


class SyncStateStore:
    """The seed's `SyncStateStore`: a thread-safe map from task id to state."""

    __slots__ = ("_lock", "_states")

    def __init__(self) -> None:
        self._lock = Lock()
        self._states: dict[str, TaskState] = {}

    def put(self, key: str, state: TaskState) -> None:
        """Remember `state` for a task, in place of an earlier one."""
        with self._lock:
            self._states[key] = state

    def remove(self, key: str) -> bool:
        """Forget a task and return whether it was there: of several callers, one gets True."""
        with self._lock:
            return self._states.pop(key, None) is not None

    def has(self, key: str) -> bool:
        """Return whether a state is remembered for this task."""
        return key in self._states

    __contains__ = has

    def get_all(self) -> list[TaskStateSet]:
        """Return what is remembered now, in the order it came."""
        with self._lock:
            return [TaskStateSet(key, state) for key, state in self._states.items()]

    def clone(self) -> SyncStateStore:
        """Return a copy; neither sees later changes of the other."""
        copy = SyncStateStore()
        with self._lock:
            copy._states = dict(self._states)
        return copy

    def __len__(self) -> int:
        """Return how many tasks are remembered."""
        return len(self._states)

    len = __len__
