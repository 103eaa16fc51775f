"""Which tasks follow which, for the memory repository: an index by the task before."""

from __future__ import annotations

from collections.abc import Sequence

from kokugen.repository.rows import ChainedTask


class Chains:
    """Task ids by the id of the task that they follow, in the order in which they were added."""

    __slots__ = ("_followers",)

    def __init__(self) -> None:
        self._followers: dict[str, list[str]] = {}

    def add(self, task: ChainedTask) -> None:
        """Take a task in."""
        if task.follows is not None:
            self._followers.setdefault(task.follows, []).append(task.id)

    def remove(self, task: ChainedTask) -> None:
        """Let a task go that is forgotten."""
        if task.follows is None:
            return
        left = self._followers[task.follows]
        left.remove(task.id)
        if not left:
            del self._followers[task.follows]

    def followers(self, task_id: str) -> Sequence[str]:
        """Return the ids of those that follow a task."""
        return tuple(self._followers.get(task_id, ()))
