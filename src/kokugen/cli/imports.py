"""`kokugen import`: the schedules of crontabs, APScheduler and celery beat. Reads them through `kokugen.importers`.

`kokugen.cli.takeover` shows what was read, and has the scheduler store all of it in one go.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kokugen.cli import store, takeover, times
from kokugen.cli.changes import OPERATOR

if TYPE_CHECKING:
    from kokugen.importers.found import Reading

F = TypeVar("F", bound=Callable[..., Any])
SIZE_MAX = 50_000_000


@click.group("import", invoke_without_command=True)
@click.pass_context
def import_command(context: click.Context) -> None:
    """Make schedules of what cron, APScheduler 3 or celery beat runs.

    Nothing is run, and the source is not changed. What cannot be carried over is listed, with the reason; then the
    exit code is 1. The same import again changes nothing. What an earlier import of the source made, and is no longer
    there, is told, and removed where that is asked for.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def import_options(command: F) -> F:
    """Add what all sources have: --dry-run, --paused, --remove-gone, --source, --by, --app, --json, --url."""
    for option in (
        store.url_option,
        store.json_option,
        click.option("--app", metavar="MODULE:SCHEDULER", help="Take what its code declares, and its store."),
        click.option("--by", metavar="NAME", default=OPERATOR, help="Who does it; it stays in the audit."),
        click.option("--source", metavar="NAME", help="What to call the source, where there are several of a kind."),
        click.option("--remove-gone", is_flag=True, help="Remove what an earlier import made, and is no longer there."),
        click.option("--paused", is_flag=True, help="Pause what is new, until someone resumes it."),
        click.option("--dry-run", is_flag=True, help="Say what would be made, and when it comes; change nothing."),
    ):
        command = option(command)
    return command


def work_option(command: F) -> F:
    """Add --work."""
    return click.option(
        "--work", "works", multiple=True, metavar="OLD=ID", help="Which work a function is now. Repeat it."
    )(command)


@import_command.command("crontab", short_help="Of the lines of crontabs.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--system/--user", "system", default=None, help="Whether lines name a user; else as the path says.")
@click.option("--tz", metavar="ZONE", help="The zone that cron runs in; else this machine's.")
@click.option("--declare", metavar="NEW.py", help="Write the code that allows the commands; - prints it.")
@import_options
def crontab_command(
    files: tuple[str, ...],
    system: bool | None,
    tz: str | None,
    declare: str | None,
    **given: Any,
) -> int:
    """Make schedules of the lines of crontabs; - is the standard input.

    Files of a folder cron.d and /etc/crontab have a user in each line: those come on a queue of that user's, for a
    worker that runs as the user. What the lines run is not stored: it becomes Python code that allows it, for you to
    look over.
    """
    from kokugen.importers.crontab import Tab, is_of_system, read_crontabs
    from kokugen.importers.zone import local_zone

    zone = times.parse_zone(tz).key if tz else local_zone()
    tabs = [
        Tab(name=Path(file).name, text=text_of(file), has_users=is_of_system(file) if system is None else system)
        for file in files
    ]
    return takeover.carry_out(read_crontabs(tabs, times.now(), zone), declare=declare, **given)


@import_command.command("apscheduler", short_help="Of the jobs in a job store of APScheduler 3.")
@click.argument("database")
@click.option("--table", metavar="NAME", help="The table of the jobs, if it is not apscheduler_jobs.")
@work_option
@import_options
def apscheduler_command(database: str, table: str | None, works: tuple[str, ...], **given: Any) -> int:
    """Make schedules of the jobs in the job store DATABASE of APScheduler 3.

    DATABASE is the URL of its SQLAlchemyJobStore, sqlite:///… or postgresql://…. Jobs are pickles; they are read and
    never unpickled, so that nothing in them runs.
    """
    from kokugen.importers.apscheduler import COLUMNS, TABLE, read_jobs
    from kokugen.importers.works import mapping
    from kokugen.repository.foreign import read_table

    named = mapping(works)
    rows = read_table(database, table or TABLE, COLUMNS)
    return takeover.carry_out(read_jobs(rows, named, times.now()), works=named, **given)


@import_command.command("celery", short_help="Of beat_schedule, or a dump of django-celery-beat.")
@click.argument("file")
@click.option("--tz", metavar="ZONE", help="The time zone of celery's settings; else UTC, or as FILE says.")
@work_option
@import_options
def celery_command(file: str, tz: str | None, works: tuple[str, ...], **given: Any) -> int:
    """Make schedules of what celery beat sends, from the JSON in FILE; - is the standard input.

    FILE is what `manage.py dumpdata django_celery_beat` writes, or the beat_schedule of an application: the manual
    says how to write it down.
    """
    from kokugen.importers.works import mapping

    zone = times.parse_zone(tz).key if tz else None
    named = mapping(works)
    return takeover.carry_out(read_celery(file, named, zone), works=named, **given)


def read_celery(file: str, works: dict[str, str], tz: str | None) -> Reading:
    """Return the schedules of a dump, or of a beat_schedule. Raises UsageError where it is neither."""
    from kokugen.importers.beat import read_beat_schedule
    from kokugen.importers.django_beat import is_dump, read_dump

    try:
        document = json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file} is no JSON: {error}") from None
    if is_dump(document):
        return read_dump(document, works, times.now(), tz)
    if isinstance(document, dict):
        return read_beat_schedule(document, works, times.now(), tz)
    raise click.UsageError(f"{file} is neither a dump of django_celery_beat nor a beat_schedule")


def text_of(file: str) -> str:
    """Return what is in a file, or comes in; text in UTF-8. Raises UsageError."""
    raw = bytes_of(file)
    if len(raw) > SIZE_MAX:
        raise click.UsageError(f"{file} has more than {SIZE_MAX:,} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise click.UsageError(f"{file} is no text in UTF-8, in line {line}") from None


def bytes_of(file: str) -> bytes:
    """Return what is in a file, or comes in: a little more than may be, where it is more. Raises UsageError."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(SIZE_MAX + 1)
        with Path(file).open("rb") as opened:
            return opened.read(SIZE_MAX + 1)
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}") from None
