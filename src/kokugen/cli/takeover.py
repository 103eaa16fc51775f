"""An import carried out: what was read is checked, stored and shown. Called by the commands of `kokugen import`.

All is checked before anything is written; then the code that allows commands is written, where that is wanted, and the
scheduler stores the schedules in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kokugen.cli import console, declaration, destination, times
from kokugen.cli.every import view
from kokugen.cli.ownership import GONE, Gone, gone_from, owned, owners_of
from kokugen.clock import from_us
from kokugen.task import replace

if TYPE_CHECKING:
    from kokugen.cli.destination import Destination
    from kokugen.importers.found import Found, Reading
    from kokugen.schedules.drafts import NewSchedule
    from kokugen.schedules.info import PutSchedule, ScheduleInfo

PAUSED = "imported, and not resumed yet"
NEXT_SHOWN = 3
LEFT_OUT = 1


def carry_out(
    reading: Reading,
    *,
    url: str | None,
    app: str | None,
    as_json: bool,
    by: str,
    paused: bool,
    dry_run: bool,
    source: str | None,
    remove_gone: bool,
    works: Mapping[str, str] | None = None,
    declare: str | None = None,
) -> int:
    """Store what was read, or say what would be; the exit code is 1 where something was left out."""
    from kokugen.importers.works import check

    check(reading.found, works or {})
    if declare not in {None, "-"} and reading.declaration is not None:
        declaration.check_target(Path(str(declare)))
    with destination.opened(url, app, dry_run=dry_run) as place:
        reading = taken(reading, place)
        owners = owners_of(reading, source)
        asked = owned([new_schedule(one, paused) for one in reading.found], reading, owners, place, by)
        puts = place.put(asked, by=by, dry_run=True)
        gone = gone_from(reading, owners, place)
        if not dry_run:
            declaration.write(reading, declare)
            puts = place.put(asked, by=by, dry_run=False)
            for info in gone if remove_gone else ():
                place.remove(info.name, by=by, why=GONE)
    without = Gone(tuple(gone), removed=remove_gone)
    if as_json:
        console.say_json(told(reading, puts, without))
    else:
        say(reading, puts, without, dry_run)
        declaration.say(reading, declare, dry_run)
    return LEFT_OUT if reading.left_out else 0


def taken(reading: Reading, place: Destination) -> Reading:
    """Return what the destination can run; the rest is left out."""
    from kokugen.importers.found import LeftOut

    refusals = {one.name: place.refusal(one.param) for one in reading.found}
    refused = (LeftOut(one.source, why, one.name) for one in reading.found if (why := refusals[one.name]) is not None)
    kept: Reading = replace(
        reading,
        found=tuple(one for one in reading.found if refusals[one.name] is None),
        left_out=(*reading.left_out, *refused),
    )
    return kept


def new_schedule(found: Found, paused: bool) -> NewSchedule:
    """Return what the scheduler is to store."""
    from kokugen.schedules.drafts import NewSchedule

    note = found.paused or (PAUSED if paused else None)
    return NewSchedule(when=found.when, param=found.param, options=found.options, paused=note)


# -- What is said


def say(reading: Reading, puts: list[PutSchedule], gone: Gone, dry_run: bool) -> None:
    """Print the schedules, what is different, what was left out, and what is gone."""
    for found, put in zip(reading.found, puts, strict=True):
        console.say(f"{result(put):9}  {found.name}  ({found.source})")
        console.say(f"           {put.info.trigger!r}")
        for line in details(found, put):
            console.say(f"           {line}")
    for left in reading.left_out:
        console.say(f"left out   {left.source}: {left.reason}")
    for info in gone.schedules:
        console.say(f"{gone.result:9}  {info.name}  ({GONE})")
    counts = [f"{sum(result(put) == kind for put in puts):,} {kind}" for kind in ("made", "changed", "as it was")]
    summary = f"{console.counted(len(puts), 'schedule')}: {', '.join(counts)}; {len(reading.left_out):,} left out"
    if gone.schedules:
        summary += f"; {len(gone.schedules):,} {gone.result}" + (
            "" if gone.removed else ", which --remove-gone removes"
        )
    console.say(f"dry run, nothing was changed: {summary}" if dry_run else summary)


def details(found: Found, put: PutSchedule) -> Iterator[str]:
    """Yield what else is to be said of a schedule."""
    work_id = found.param.work_id
    if found.function != work_id:
        yield f"work {work_id}, of {found.function}"
    elif found.name != work_id:
        yield f"work {work_id}"
    coming = [times.stamp(when) for when in following(put.info)]
    yield f"comes {', '.join(coming)}" if coming else "does not come any more"
    if put.made and put.info.paused_note is not None:
        yield f"paused: {put.info.paused_note}"
    yield from (f"note: {note}" for note in found.notes)


def following(info: ScheduleInfo) -> list[datetime]:
    """Return when a schedule comes next, a few times, if it is not paused."""
    most, end = info.policy.max_runs, info.policy.end_us
    last = None if end is None else from_us(end)
    found: list[datetime] = []
    when = info.trigger.next(times.now())
    while when is not None and len(found) < min(most or NEXT_SHOWN, NEXT_SHOWN) and (last is None or when <= last):
        found.append(when)
        when = info.trigger.next(when)
    return found


def result(put: PutSchedule) -> str:
    """Return in a word what became of a schedule."""
    return "made" if put.made else "changed" if put.changed else "as it was"


def told(reading: Reading, puts: list[PutSchedule], gone: Gone) -> dict[str, Any]:
    """Return everything as plain JSON values."""
    return {
        "schedules": [
            view(put.info)
            | {
                "result": result(put),
                "source": found.source,
                "function": found.function,
                "notes": list(found.notes),
                "comes": [when.isoformat() for when in following(put.info)],
            }
            for found, put in zip(reading.found, puts, strict=True)
        ],
        "left_out": [{"source": one.source, "reason": one.reason} for one in reading.left_out],
        "gone": [view(info) | {"result": gone.result} for info in gone.schedules],
        "declaration": reading.declaration,
    }
