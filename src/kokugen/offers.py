"""What a node says that it runs: written down with the node, for people who ask why a task waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from kokugen.task import AT, NodeInfo

WORKS_MAX = 1000
"""Of more works a node does not say which they are."""
SILENT_US = 60_000_000
"""Six beats as they are by default: a node that was not seen for so long is stopped, suspended, or cut off."""


class Offers(Struct, frozen=True, kw_only=True):
    """The queues that a node claims from, those of its places among them, and the works that it knows."""

    namespace: str
    queues: tuple[str, ...]
    works: tuple[str, ...] | None = None
    """None: it does not say which."""

    @property
    def text(self) -> str:
        """Return it as JSON, as the store keeps it."""
        few = self.works is None or len(self.works) <= WORKS_MAX
        return msgspec.json.encode(self if few else msgspec.structs.replace(self, works=None)).decode()


def offers_of(nodes: Iterable[NodeInfo], namespace: str, now_us: int) -> list[Offers] | None:
    """Return what the nodes of a namespace offer that are alive; None where one of them does not say."""
    found: list[Offers] = []
    for node in nodes:
        if node.stopped_at is not None or now_us - node.seen_at >= SILENT_US:
            continue
        try:
            found.append(msgspec.json.decode(node.offers, type=Offers))
        except msgspec.DecodeError:  # it says nothing, or is of a release that says it otherwise
            return None
    return [one for one in found if one.namespace == namespace]


def lacking(work_id: str, queue: str, offers: Sequence[Offers] | None) -> str:
    """Say why a task that is due waits for a worker, as far as the nodes that are alive say what they offer."""
    name, _, place = queue.partition(AT)
    at = f" at the place {place!r}" if place else ""
    full = f"none that serves the queue {name!r}{at} and knows its work has a free place"
    if offers is None:
        return full
    if not offers:
        return "no process runs work now"
    if place and not any(one.endswith(f"{AT}{place}") for each in offers for one in each.queues):
        return f"none that runs now offers the place {place!r}"
    serving = [each for each in offers if queue in each.queues]
    if not serving:
        return f"none that runs now serves the queue {name!r}{at}"
    if all(each.works is not None and work_id not in each.works for each in serving):
        return f"none that serves the queue {name!r}{at} knows the work {work_id!r}"
    return full
