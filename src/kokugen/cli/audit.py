"""`kokugen remove`, `rollback` and `audit`: schedules taken away and brought back, and who changed what and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from kokugen.cli import completion, console, store, times
from kokugen.cli.every import by_and_why, say_schedule, view
from kokugen.clock import from_us
from kokugen.codec import decode_value, encode_value
from kokugen.errors import NoScheduleError

if TYPE_CHECKING:
    from kokugen.repository.schedule_rows import AuditRow

PARTS = ("policy", "template")
"""What of a definition is told by its fields; the rest is told as a whole."""
INSTANTS = {"start_us", "end_us", "paused_at", "paused_until"}


@click.command("remove")
@click.argument("name", shell_complete=completion.schedules)
@by_and_why
@store.app_option
@store.json_option
@store.url_option
def remove_command(name: str, url: str | None, as_json: bool, by: str, why: str | None) -> None:
    """Remove the schedule NAME. Its ledger stays, and a rollback brings it back.

    What is due already still runs.
    """
    with store.opened(url) as scheduler:
        info = scheduler.remove(name, by=by, why=why)
    if as_json:
        console.say_json(view(info))
    else:
        console.say(f"{name}  {info.work_id}  removed")


@click.command("rollback")
@click.argument("name", shell_complete=completion.schedules)
@by_and_why
@store.app_option
@store.json_option
@store.url_option
def rollback_command(name: str, url: str | None, as_json: bool, by: str, why: str | None) -> None:
    """Undo the last edit, or the removal, of the schedule NAME.

    It counts from now on. A rollback is an edit, too: another one undoes it.
    """
    with store.opened(url) as scheduler:
        info = scheduler.rollback(name, by=by, why=why)
    say_schedule(info, as_json)


@click.command("audit")
@click.argument("name", shell_complete=completion.schedules)
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=50, show_default=True, help="At most so many.")
@store.app_option
@store.json_option
@store.url_option
def audit_command(name: str, url: str | None, as_json: bool, limit: int) -> None:
    """List the changes of the schedule NAME: who, when, why, and what was changed.

    Newest first, those of a schedule that was removed too.
    """
    with store.opened(url) as scheduler:
        found = scheduler.schedule_audit(name, limit)
    if not found:
        raise NoScheduleError(name)
    if as_json:
        console.say_json_list(map(audit_view, found))
        return
    for row in found:
        who = f" by {row.who}" if row.who else ""
        console.say(f"{times.stamp(from_us(row.at))}  {row.what}{who}" + (f": {row.why}" if row.why else ""))
        for line in differences(row):
            console.say(f"    {line}")


def audit_view(row: AuditRow) -> dict[str, Any]:
    """Return a change as plain JSON values."""
    return {
        "name": row.name,
        "at": from_us(row.at).isoformat(),
        "who": row.who,
        "what": row.what,
        "why": row.why,
        "before": opened(row.before),
        "after": opened(row.after),
    }


def opened(text: str | None) -> Any:
    """Return what the audit kept as values: also what in it is JSON in a text of its own."""
    if text is None:
        return None
    told = decode_value(text)
    for name in told.keys() & {"spec", *PARTS}:
        told[name] = decode_value(told[name])
    for name in told.get("template", {}).keys() & {"param", "options", "tags"}:
        told["template"][name] = decode_value(told["template"][name])
    return told


def differences(row: AuditRow) -> Iterator[str]:
    """Yield a line about each thing that was changed; of one that was made or removed, about each that was said."""
    before, after = dict(fields(opened(row.before))), dict(fields(opened(row.after)))
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            yield f"+ {name} {new}"
        elif new is None and old is not None:
            yield f"- {name} {old}"
        elif old != new:
            yield f"  {name} {old} → {new}"


def fields(told: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Yield the names and the values of what is not as by default, as people read them."""
    for name, value in (told or {}).items():
        if name in PARTS:
            yield from fields(value)
        elif value is not None:
            yield name.removesuffix("_us"), shown(name, value)


def shown(name: str, value: Any) -> str:
    """Return a value as text: instants and spans in words."""
    if name in INSTANTS:
        return times.stamp(from_us(value))
    if name.endswith("_us"):
        return str(timedelta(microseconds=value))
    return value if isinstance(value, str) else encode_value(value)
