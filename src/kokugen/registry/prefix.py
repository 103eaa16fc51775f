"""Several registries as one, told apart by how the work id begins: `mail.send` is `send` of the mail registry.

The scheduler and the engine use it like any registry; it asks the one whose prefix fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from kokugen.options import check_name
from kokugen.registry import work as made
from kokugen.registry.protocol import ListedWorkRegistry, Work, WorkRegistry


class PrefixRegistry:
    """Registries by prefix. The longest prefix wins, and its registry is asked for what stands behind it; "" fits all.

    Where every inner registry lists its ids, this one does too (it then is a `ListedPrefixRegistry`).
    """

    def __new__(cls, registries: Mapping[str, WorkRegistry]) -> Self:
        if cls is PrefixRegistry and all(isinstance(one, ListedWorkRegistry) for one in registries.values()):
            return object.__new__(ListedPrefixRegistry)  # type: ignore[return-value]
        return object.__new__(cls)

    def __init__(self, registries: Mapping[str, WorkRegistry]) -> None:
        for prefix in filter(None, registries):
            check_name("prefix", prefix)
        self._prefixes = sorted(registries, key=len, reverse=True)
        self._registries = dict(registries)
        self._named: dict[str, tuple[object, made.Work[..., Any]]] = {}

    def load(self, work_id: str) -> Work | Callable[..., Any] | None:
        prefix = self._prefix_of(work_id)
        if prefix is None:
            return None
        found = self._registries[prefix].load(work_id.removeprefix(prefix))
        return self._outer(prefix, found) if isinstance(found, made.Work) else found

    def _prefix_of(self, work_id: str) -> str | None:
        return next((prefix for prefix in self._prefixes if work_id.startswith(prefix)), None)

    def _outer(self, prefix: str, found: made.Work[..., Any]) -> made.Work[..., Any]:
        """Return inner work under the id it has out here, the same each time."""
        outer_id = prefix + found.id
        inner, outer = self._named.get(outer_id, (None, found))
        if inner is not found:
            outer = found.named(outer_id)
            self._named[outer_id] = (found, outer)
        return outer


class ListedPrefixRegistry(PrefixRegistry):
    """A `PrefixRegistry` whose inner registries all list their ids."""

    def work_ids(self) -> frozenset[str]:
        return frozenset(
            prefix + work_id
            for prefix, registry in self._registries.items()
            if isinstance(registry, ListedWorkRegistry)
            for work_id in registry.work_ids()
            if self._prefix_of(prefix + work_id) == prefix
        )
