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
    """The waiting tasks of one queue and one work by time: the later ones, and of each rank the due ones."""

    __slots__ = ("_due", "horizon_us", "later")

    def __init__(self) -> None:
        self.later = LazyHeap()
        self._due: dict[int, LazyHeap] = {}
        self.horizon_us = 0
        """No task that counts as due is due after this."""

    def __bool__(self) -> bool:
        """Return whether any task waits."""
        return bool(self.later) or any(self._due.values())

    @property
    def due(self) -> Iterable[LazyHeap]:
        """Return the due tasks, a heap for each rank."""
        return self._due.values()

    def put(self, rank: int, due_at: int, task_id: str, now: int) -> None:
        """Let a task wait."""
        if due_at <= now:
            self.horizon_us = max(self.horizon_us, now)
            self._ripe(rank).push(due_at, rank, task_id)
        else:
            self.later.push(due_at, rank, task_id)

    def drop(self, task_id: str) -> bool:
        """Let a task wait no longer; return whether it did."""
        return self.later.drop(task_id) or any(heap.drop(task_id) for heap in self.due)

    def _ripe(self, rank: int) -> LazyHeap:
        found = self._due.get(rank)
        if found is None:
            found = self._due[rank] = LazyHeap()
        return found

    def ripen(self, horizon_us: int) -> None:
        """Have in `due` what is due by then, and nothing else."""
        if horizon_us < self.horizon_us:
            self._defer(horizon_us)
        self.horizon_us = horizon_us
        later = self.later
        while (entry := later.top()) is not None and entry[0] <= horizon_us:
            later.pop()
            self._ripe(entry[1]).push(*entry)

    def _defer(self, horizon_us: int) -> None:
        """Put back what looked due before the wall clock was set back."""
        for heap in self.due:
            for due_at, rank, task_id in heap.entries():
                if due_at > horizon_us:
                    heap.drop(task_id)
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
        if found is not None and found.drop(task_id) and not found:
            del self._lanes[lane]

    def lanes(
        self, queues: tuple[str, ...], only: frozenset[str] | None, skip: frozenset[str], horizon_us: int
    ) -> list[Lane]:
        """Return the lanes of these queues and works that have tasks, ripened; empty ones go."""
        found = []
        for (queue, work_id), lane in list(self._lanes.items()):
            if not lane:
                del self._lanes[queue, work_id]
            elif queue in queues and work_id not in skip and (only is None or work_id in only):
                lane.ripen(horizon_us)
                found.append(lane)
        return found

    def named(self) -> list[tuple[tuple[str, str], Lane]]:
        """Return all lanes with their names."""
        return list(self._lanes.items())

    def take(self, lanes: Iterable[Lane], ageing_us: int) -> Iterator[str]:
        """Take out the due tasks of lanes that were ripened, in the order in which claims take them."""
        heads = [_head(entry, ageing_us, heap) for lane in lanes for heap in lane.due if (entry := heap.top())]
        heapify(heads)
        while heads:
            heap = heads[0][3]
            entry = heap.pop()
            if (following := heap.top()) is not None:
                heapreplace(heads, _head(following, ageing_us, heap))
            else:
                heappop(heads)
            yield entry[2]

    def next_due(self, lanes: Iterable[Lane]) -> int | None:
        """Return when the first of the later tasks of ripened lanes is due; None where there are none."""
        tops = [entry[0] for lane in lanes if (entry := lane.later.top()) is not None]
        return min(tops, default=None)


def _head(entry: Entry, ageing_us: int, heap: LazyHeap) -> tuple[int, int, str, LazyHeap]:
    due_at, rank, task_id = entry
    return due_at + rank * ageing_us, rank, task_id, heap
