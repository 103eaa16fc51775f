"""How a store takes part in a transaction of the user's: told by which library a connection is of.

A repository that can (`TransactionRepository`) makes a `Joined` of a connection; `within` and `task_storage.completion`
ask it. Nothing here imports a driver: whoever has a connection of one has imported it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, runtime_checkable

from kokugen.errors import TransactionError
from kokugen.repository.protocol import StoreRepository
from kokugen.repository.rows import Added, Finish, Finished, NewTask

Kind = tuple[str, str]
"""The library and the class that a connection is of."""


class Joined(Protocol):
    """A transaction of the user's that the store takes part in. Nothing here commits it or rolls it back.

    What a method returns is to be awaited exactly where the connection is async. What the driver raises comes as it
    is, for the transaction is the user's; TransactionError says why a connection cannot be written in.
    """

    @property
    def is_async(self) -> bool: ...

    def add(self, tasks: Sequence[NewTask]) -> list[Added] | Awaitable[list[Added]]:
        """Add tasks as the repository's `add` does; other processes are woken by the commit, where the store can."""
        ...

    def finish(self, row: Finish) -> Finished | Awaitable[Finished]:
        """Write how a run ends as the repository's `finish` does, but wait for a lock that someone has.

        FENCED also where an earlier transaction wrote this very end: what came with it must not come twice.
        """
        ...


@runtime_checkable
class TransactionRepository(Protocol):
    """A store that can take part in a transaction on the same database."""

    def within(self, connection: object) -> Joined:
        """Return what writes in the connection's transaction. Raises TransactionError for one it cannot write in."""
        ...


def join(repository: StoreRepository, connection: object) -> Joined:
    """Return what writes in the connection's transaction. Raises TransactionError."""
    if not isinstance(repository, TransactionRepository):
        raise TransactionError(
            f"the store {repository.url} takes part in no transaction of yours: "
            "use a postgresql://, sqlite:// or sqlite+sqlite3:// store"
        )
    return repository.within(connection)


def kinds(connection: object) -> list[Kind]:
    """Return the library and name of each class that an object is of, its own class first."""
    return [(one.__module__.partition(".")[0], one.__name__) for one in type(connection).__mro__]


def named(connection: object) -> str:
    """Return what an object is, for a message."""
    return f"a {type(connection).__module__}.{type(connection).__qualname__}"
