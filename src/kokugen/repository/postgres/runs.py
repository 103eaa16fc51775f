"""What owners and watchers do with runs: finish, beat, watch, recover. No statement here ever waits for a lock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import msgspec
from msgspec import structs

from kokugen.errors import InvalidEntryError, RepositoryUnavailableError
from kokugen.repository.postgres.adding import encode
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.limits import admit_after
from kokugen.repository.rows import ATTEMPTS_KEPT, Beaten, Finish, Finished, Lease, Observed, Recovered, Report
from kokugen.task import TaskState

PAUSES_S = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)
"""How long to wait for rows that someone else holds locked, time after time."""

NUL = "\0"
NUL_SHOWN = "\N{SYMBOL FOR NULL}"


class Fate(IntEnum):
    """What became of a run whose outcome was offered."""

    WRITTEN = 0
    TAKEN = 1
    UNDER_WAY = 2


# -- T3, T4, T5, T9, T10


async def finish(scope: Scope, rows: Sequence[Finish]) -> list[Finished | RepositoryUnavailableError]:
    """Write outcomes in one statement; look again only where some did not apply.

    A row that is still under its claim was locked: it is tried again, and, if that does not help, refused for now.
    """
    if any(row.state == TaskState.WORKING for row in rows):
        raise InvalidEntryError("a run cannot end as Working: name the state after it")
    fates: dict[tuple[str, str], int] = {}
    waiting = False
    left = {(row.id, row.claim): row for row in reversed(rows)}  # of two answers of one run the first counts
    for pause_s in PAUSES_S:
        await asyncio.sleep(pause_s)
        offered, waiting = await _offer(scope, left)
        fates |= offered
        left = {key: row for key, row in left.items() if fates[key] == Fate.UNDER_WAY}
        if not left:
            break
    if waiting or any(row.state == TaskState.INITIALIZED for row in rows):  # these have to line up again
        await admit_after(scope, [row.id for row in rows])
    return [_finished(fates[row.id, row.claim]) for row in rows]


async def _offer(scope: Scope, rows: dict[tuple[str, str], Finish]) -> tuple[dict[tuple[str, str], int], bool]:
    """Return what became of outcomes, and whether any task waits for a limit."""
    written, waiting = await scope.session.row("finish", finish_names(scope.names, rows.values()))
    if written == len(rows):
        return dict.fromkeys(rows, Fate.WRITTEN), waiting
    (fates,) = await scope.session.row("outcomes", scope.names | {"rows": encode(list(rows))})
    return dict(zip(rows, msgspec.json.decode(fates), strict=True)), waiting


def finish_names(names: dict[str, Any], rows: Iterable[Finish]) -> dict[str, Any]:
    """Return what the statement that writes outcomes is bound to."""
    return names | {"rows": _texts(rows), "kept": ATTEMPTS_KEPT}


def _finished(fate: int) -> Finished | RepositoryUnavailableError:
    if fate == Fate.UNDER_WAY:
        return RepositoryUnavailableError("a run cannot end just now, another transaction holds its row: try again")
    return Finished.FENCED if fate == Fate.TAKEN else Finished.APPLIED


def _texts(rows: Iterable[Finish]) -> str:
    """Return rows as JSON; what PostgreSQL cannot hold in a text is shown there by a sign for it."""
    plain = list(rows)
    try:
        text = encode(plain)
    except UnicodeEncodeError:  # half of a surrogate pair
        return encode([_storable(row) for row in plain])
    return encode([_storable(row) for row in plain]) if "\\u0000" in text else text


def _storable(row: Finish) -> Finish:
    def shown(text: str | None) -> str | None:
        return None if text is None else text.replace(NUL, NUL_SHOWN).encode(errors="replace").decode()

    texts = {name: shown(getattr(row, name)) for name in ("hold", "reason", "error", "result")}
    return structs.replace(row, **texts)


# -- T13


async def beat(scope: Scope, leases: Sequence[Lease]) -> list[list[Beaten]]:
    """Extend leases, and answer for each one with nothing or with itself.

    One whose row someone holds locked is still its claim's, and cannot be taken over either: it is answered for as not
    extended.
    """
    kept: dict[Lease, Beaten] = {}
    locked, still = dict.fromkeys(leases), dict[Lease, Beaten]()
    for pause_s in PAUSES_S:
        await asyncio.sleep(pause_s)
        names = scope.names | {"rows": encode(list(locked))}
        (beaten,) = await scope.session.row("beat", names | {"ttl": None})
        extended = _by_lease(beaten)
        kept |= extended
        if len(extended) == len(locked):
            break
        (waiting,) = await scope.session.row("leases", names)
        still = {lease: one for lease, one in _by_lease(waiting).items() if lease not in kept}
        if not still:
            break
        locked = dict.fromkeys(still)
    else:
        kept |= still
    return [[kept[lease]] if lease in kept else [] for lease in leases]


async def part(scope: Scope, leases: Sequence[Lease], ttl_s: float) -> list[Beaten]:
    """Extend leases once more, for so long. What is locked is not waited for: its owner is about to end."""
    (beaten,) = await scope.session.row("beat", scope.names | {"rows": encode(leases), "ttl": ttl_s})
    return list(_by_lease(beaten).values())


def _by_lease(text: str) -> dict[Lease, Beaten]:
    return {Lease(one.id, one.claim): one for one in msgspec.json.decode(text, type=list[Beaten])}


async def report(scope: Scope, rows: Sequence[Report]) -> None:
    """Write what runs say of their progress, but where a row is locked."""
    await scope.session.row("report", scope.names | {"rows": encode(rows)})


async def watch(scope: Scope, node_id: str) -> list[Observed]:
    """Return the leased runs of other nodes."""
    (seen,) = await scope.session.row("watch", scope.names | {"node": node_id})
    return msgspec.json.decode(seen, type=list[Observed])


# -- T6, T7


async def recover(scope: Scope, observed: Sequence[Observed]) -> list[Recovered]:
    """Take runs from their owners where they are still as observed."""
    (recovered,) = await scope.session.row("recover", scope.names | {"rows": encode(observed)})
    answers = msgspec.json.decode(recovered, type=list[Recovered])
    await admit_after(scope, [one.id for one in answers])
    return answers


async def retire(scope: Scope, node_id: str) -> None:
    """Write down that a node stopped, and take its runs from it."""
    names: dict[str, Any] = scope.names | {"node": node_id}
    await scope.session.row("retire", names)
    (owned,) = await scope.session.row("owned", names)
    if left := msgspec.json.decode(owned, type=list[Observed]):
        await recover(scope, left)
