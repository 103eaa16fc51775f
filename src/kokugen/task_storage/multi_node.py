"""The seed's task storage for several nodes on one repository: of all that know a task, one runs it."""

from __future__ import annotations

from kokugen.errors import OptionError
from kokugen.repository.protocol import Repository, StateUpdater
from kokugen.task_storage.mirror import MirroredTasks
from kokugen.task_storage.single_node import SingleNodeTaskStorage


class MultiNodeTaskStorage(SingleNodeTaskStorage):
    """As `SingleNodeTaskStorage`, and makes a task Working by compare and swap right before it runs.

    Where another node was first, the local run ends as Cancelled, and nothing is marked. A repository with the
    seed's methods alone has no leases: a task that was Working when its node died stays so until it is changed by
    hand. The built-in repositories take it over.
    """

    shared = True

    def _make_mirror(self, repository: Repository) -> MirroredTasks:
        if not isinstance(repository, StateUpdater):
            raise OptionError(
                f"{type(repository).__name__} has no update_state, which several nodes on one repository need: "
                "add it (see StateUpdater), or use SingleNodeTaskStorage"
            )
        return MirroredTasks(repository, updater=repository)
