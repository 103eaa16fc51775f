"""Whose the schedules of an import are: their source's, so that a later import knows what is gone from it.

Called by `kokugen.cli.takeover`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from kokugen.schedule_options import IMPORTED
from kokugen.task import replace

if TYPE_CHECKING:
    from kokugen.cli.destination import Destination
    from kokugen.importers.found import Reading
    from kokugen.schedules.drafts import NewSchedule
    from kokugen.schedules.info import ScheduleInfo

GONE = "no longer in the source"


class Gone(Struct, frozen=True):
    """What is gone from the source, and whether it is removed."""

    schedules: tuple[ScheduleInfo, ...]
    removed: bool

    @property
    def result(self) -> str:
        """Return in a word what becomes of it."""
        return "removed" if self.removed else "gone"


def owners_of(reading: Reading, source: str | None) -> dict[str, str]:
    """Return whom the schedules of each part of the source belong to; `source` is what the user calls all of it."""
    return {origin: f"{IMPORTED}{source or origin}" for origin in reading.origins}


def owned(
    asked: list[NewSchedule], reading: Reading, owners: Mapping[str, str], place: Destination, by: str
) -> list[NewSchedule]:
    """Return what is to be stored, as the source's own; what belongs to someone already stays theirs."""
    puts = place.put(asked, by=by, dry_run=True)
    return [
        replace(new, options=replace(new.options, owner=owners[found.origin])) if put.info.owner is None else new
        for new, found, put in zip(asked, reading.found, puts, strict=True)
    ]


def gone_from(reading: Reading, owners: Mapping[str, str], place: Destination) -> list[ScheduleInfo]:
    """Return what earlier imports of the source made, and is no longer in it, not even as what is left out."""
    there = {one.name for one in reading.found} | {one.name for one in reading.left_out}
    mine = [info for owner in sorted(set(owners.values())) for info in place.owned(owner)]
    return [info for info in mine if info.name not in there]
