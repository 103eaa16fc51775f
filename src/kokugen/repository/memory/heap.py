"""The seed's heap of waiting tasks, for the memory repository: which task is due next, and which are due now.

A task that is cancelled, held or moved leaves at once, by its id; what stays of it in the heap is skipped at
the top, and swept out when more than half of the heap is such remains. Nothing walks the heap for one task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace

Entry = tuple[int, int, str]

DEAD_MIN = 32
"""Fewer remains than this are not worth a sweep."""


class LazyHeap:
    """Task ids in order of two numbers, then id. Each id is in it at most once."""

    __slots__ = ("_dead", "_entries", "_places")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._places: dict[str, Entry] = {}
        self._dead = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        """Return how many entries it holds, what remains of dropped tasks included."""
        return len(self._entries)

    def push(self, first: int, second: int, task_id: str) -> None:
        """Take a task in."""
        assert task_id not in self._places, f"{task_id} is in this heap already"
        self._places[task_id] = entry = (first, second, task_id)
        heappush(self._entries, entry)

    def drop(self, task_id: str) -> bool:
        """Let a task go that may be anywhere in the heap; return whether it was there."""
        if self._places.pop(task_id, None) is None:
            return False
        self._dead += 1
        if self._dead > DEAD_MIN and self._dead * 2 > len(self._entries):
            self._sweep()
        return True

    def _sweep(self) -> None:
        self._entries = list(self._places.values())
        heapify(self._entries)
        self._dead = 0

    def top(self) -> Entry | None:
        """Return the first entry, or None."""
        entries, places = self._entries, self._places
        while entries:
            entry = entries[0]
            if places.get(entry[2]) is entry:
                return entry
            heappop(entries)
            self._dead -= 1
        return None

    def entries(self) -> list[Entry]:
        """Return the entries in no order."""
        return list(self._places.values())

    def pop(self) -> Entry:
        """Take out the entry that `top()` just returned."""
        entry = heappop(self._entries)
        del self._places[entry[2]]
        return entry


class Lane:
    """The waiting tasks of one queue and one work: the later ones by time, the due ones by priority."""

    __slots__ = ("due", "horizon_us", "later")

    def __init__(self) -> None:
        self.later = LazyHeap()
        self.due = LazyHeap()
        self.horizon_us = 0
        """No task in `due` is due after this."""

    def put(self, rank: int, due_at: int, task_id: str, now: int) -> None:
        """Let a task wait."""
        if due_at <= now:
            self.horizon_us = max(self.horizon_us, now)
            self.due.push(rank, due_at, task_id)
        else:
            self.later.push(due_at, rank, task_id)

    def ripen(self, horizon_us: int) -> None:
        """Have in `due` what is due by then, and nothing else."""
        if horizon_us < self.horizon_us:
            self._defer(horizon_us)
        self.horizon_us = horizon_us
        later, due = self.later, self.due
        while (entry := later.top()) is not None and entry[0] <= horizon_us:
            later.pop()
            due.push(entry[1], entry[0], entry[2])

    def _defer(self, horizon_us: int) -> None:
        """Put back what looked due before the wall clock was set back."""
        for rank, due_at, task_id in self.due.entries():
            if due_at > horizon_us:
                self.due.drop(task_id)
                self.later.push(due_at, rank, task_id)


class WaitingTasks:
    """All tasks that may be claimed, in a lane for each queue and work: no filter walks past other tasks."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], Lane] = {}

    def put(self, lane: tuple[str, str], rank: int, due_at: int, task_id: str, now: int) -> None:
        """Let a task wait: `lane` is its queue and work id, `rank` its negated priority level."""
        found = self._lanes.get(lane)
        if found is None:
            found = self._lanes[lane] = Lane()
        found.put(rank, due_at, task_id, now)

    def drop(self, lane: tuple[str, str], task_id: str) -> None:
        """Let a task wait no longer. Not there is fine: a held task is in no lane."""
        found = self._lanes.get(lane)
        if found is None or not (found.due.drop(task_id) or found.later.drop(task_id)):
            return
        if not found.due and not found.later:
            del self._lanes[lane]

    def lanes(
        self, queues: tuple[str, ...], only: frozenset[str] | None, skip: frozenset[str], horizon_us: int
    ) -> list[Lane]:
        """Return the lanes of these queues and works that have tasks, ripened; empty ones go."""
        found = []
        for (queue, work_id), lane in list(self._lanes.items()):
            if not lane.due and not lane.later:
                del self._lanes[queue, work_id]
            elif queue in queues and work_id not in skip and (only is None or work_id in only):
                lane.ripen(horizon_us)
                found.append(lane)
        return found

    def named(self) -> list[tuple[tuple[str, str], Lane]]:
        """Return all lanes with their names."""
        return list(self._lanes.items())

    def take(self, lanes: Iterable[Lane]) -> Iterator[str]:
        """Take out the due tasks of lanes that were ripened: higher priority, then earlier due time, then id."""
        heads: list[tuple[Entry, int, Lane]] = []
        for number, lane in enumerate(lanes):
            if (entry := lane.due.top()) is not None:
                heads.append((entry, number, lane))
        heapify(heads)
        while heads:
            _, number, lane = heads[0]
            entry = lane.due.pop()
            if (following := lane.due.top()) is not None:
                heapreplace(heads, (following, number, lane))
            else:
                heappop(heads)
            yield entry[2]

    def next_due(self, lanes: Iterable[Lane]) -> int | None:
        """Return when the first of the later tasks of ripened lanes is due; None where there are none."""
        tops = [entry[0] for lane in lanes if (entry := lane.later.top()) is not None]
        return min(tops, default=None)
