"""What goes wrong between here and a server: told apart by what may be done about it, and told in plain words."""

from __future__ import annotations

import asyncpg

from kokugen.errors import InvalidEntryError, RepositoryError, RepositoryUnavailableError, SchemaVersionError

LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, TimeoutError)
"""The connection is of no use any more, and what was sent through it may have happened."""

GONE = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
)
"""The server ended the session, or is not ready for one."""

AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.DivisionByZeroError,
)
"""Nothing happened, because of another transaction: the same may succeed now. (The division: see `cancel`.)"""

STALE = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)
"""Nothing happened, and this session is not the right one any more."""

POOLED = "behind a pooler such as PgBouncer add pooled=true to its URL"
ADVICE: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidPasswordError, "check the user and password in its URL, or in PGPASSWORD or the passfile"),
    (asyncpg.InvalidAuthorizationSpecificationError, "check the user and password in its URL, and pg_hba.conf"),
    (asyncpg.InvalidCatalogNameError, "make the database first: createdb"),
    (asyncpg.InsufficientPrivilegeError, 'grant its role the rights in `docs/how-to/cluster.md`, "Roles and rights"'),
    (asyncpg.UndefinedTableError, "its tables are gone: restore them from a backup"),
    (asyncpg.InvalidSQLStatementNameError, POOLED),
    (asyncpg.DuplicatePreparedStatementError, POOLED),
    (asyncpg.ProtocolViolationError, POOLED),
)
UNAVAILABLE: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.TooManyConnectionsError, "raise max_connections, or put a pooler before it"),
    (asyncpg.QueryCanceledError, "a statement took too long, and did nothing; a lock or load holds it up"),
    (asyncpg.LockNotAvailableError, "another transaction holds its lock: try again later"),
    (asyncpg.DiskFullError, "its disk is full: free some space; nothing that was accepted is lost"),
    (asyncpg.InsufficientResourcesError, "it has run out of memory or connections"),
    (asyncpg.ReadOnlySQLTransactionError, "it is read-only: name the primary, not a standby"),
    (asyncpg.OperatorInterventionError, "it is being stopped or started: try again later"),
    (asyncpg.SerializationError, "other transactions were in the way: try again"),
    (asyncpg.DeadlockDetectedError, "other transactions were in the way: try again"),
    (asyncpg.DivisionByZeroError, "other transactions were in the way: try again"),
)


def explain(error: BaseException, url: str) -> RepositoryError | InvalidEntryError:
    """Return what went wrong as an error of ours, with what to do. Neither tells a password."""
    for kind, advice in UNAVAILABLE:
        if isinstance(error, kind):
            return RepositoryUnavailableError(f"the store {url} cannot be used just now ({_said(error)}): {advice}")
    for kind, advice in ADVICE:
        if isinstance(error, kind):
            return RepositoryError(f"the store {url} refused ({_said(error)}): {advice}")
    if isinstance(error, LOST):
        return RepositoryUnavailableError(
            f"the store {url} cannot be reached ({_said(error)}): check that the server runs, and the host and port"
        )
    if isinstance(error, asyncpg.DataError | UnicodeError):
        return InvalidEntryError(f"the store {url} cannot hold a value that it was given: {_said(error)}")
    return RepositoryError(f"the store {url} refused: {_said(error)}")


def too_new(url: str, version: int, known: int) -> SchemaVersionError:
    """Return the refusal of a schema that a newer kokugen made."""
    return SchemaVersionError(f"{url} has schema {version}; this kokugen knows {known}: use a newer kokugen")


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
