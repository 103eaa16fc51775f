"""The store that a command works on: `--url` or KOKUGEN_URL. Called by every command but demo and worker.

Commands that only look at tasks, or change some, refuse a store that is not there: a slip of the pen must not make an
empty one. `schedule` and `migrate` make one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from kokugen.options import check_name
from kokugen.repository.locate import mask, names_file, stored_version
from kokugen.repository.versions import VersionedRepository
from kokugen.task import NAMESPACE_DEFAULT

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler
    from kokugen.repository.protocol import DurableRepository

F = TypeVar("F", bound=Callable[..., Any])
NAMESPACE = "kokugen.namespace"
APP = "kokugen.app"


def url_option(command: F) -> F:
    """Add --url, which KOKUGEN_URL stands in for, and --namespace, for which KOKUGEN_NAMESPACE does."""
    command = click.option(
        "--namespace",
        envvar="KOKUGEN_NAMESPACE",
        metavar="NAME",
        expose_value=False,
        callback=keep_namespace,
        help="Which part of it; else KOKUGEN_NAMESPACE says.",
    )(command)
    return click.option(
        "--url", envvar="KOKUGEN_URL", metavar="URL", help="The store; else the variable KOKUGEN_URL names it."
    )(command)


def keep_namespace(context: click.Context, _: click.Parameter, name: str | None) -> None:
    """Keep the namespace with the command that runs, for `chosen_namespace`."""
    context.meta[NAMESPACE] = name


def chosen_namespace() -> str:
    """Return the namespace that the command line that runs here works in. Raises OptionError."""
    context = click.get_current_context(silent=True)
    name = None if context is None else context.meta.get(NAMESPACE)
    return NAMESPACE_DEFAULT if name is None else check_name("namespace", name)


def app_option(command: F) -> F:
    """Add --app: `opened` then opens the application's store, and knows the calendars that its schedules name."""
    return click.option(
        "--app",
        metavar="MODULE:SCHEDULER",
        expose_value=False,
        callback=keep_app,
        help="Its store, with the calendars that its code names.",
    )(command)


def keep_app(context: click.Context, _: click.Parameter, target: str | None) -> None:
    """Keep the application with the command that runs."""
    context.meta[APP] = target


def chosen_app() -> Scheduler | AsyncScheduler | None:
    """Return the application that the command line names, imported. Raises UsageError."""
    from kokugen.cli.application import find_scheduler

    context = click.get_current_context(silent=True)
    target = None if context is None else context.meta.get(APP)
    if target is None:
        return None
    refuse_named()
    return find_scheduler(target)


def json_option(command: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@contextmanager
def opened(url: str | None, make: bool = False) -> Iterator[Scheduler]:
    """Open the store, for a block that only schedules and looks. Raises UsageError, RepositoryError."""
    from kokugen import Scheduler

    application = chosen_app()
    if application is None:
        scheduler = Scheduler(usable(url), namespace=chosen_namespace())
    else:
        scheduler = on_store_of(application)
    if not make and application is None:
        refuse_missing(usable(url))
    try:
        scheduler.open()
        yield scheduler
    finally:
        scheduler.close()


def on_store_of(application: Scheduler | AsyncScheduler) -> Scheduler:
    """Return a scheduler of an application's store that is there, and of its calendars. Raises UsageError."""
    from kokugen import Scheduler

    repository = application.repository
    usable(repository.url)
    if is_unmade(repository):
        raise missing(file_of(repository.url), repository.url)
    scheduler = Scheduler(repository=repository)
    for name, calendar in application.calendars.items():
        scheduler.add_calendar(name, calendar)
    return scheduler


def is_unmade(repository: DurableRepository) -> bool:
    """Return whether there is no store yet, where that can be seen without making it."""
    return isinstance(repository, VersionedRepository) and repository.schema().stored is None


def usable(url: str | None) -> str:
    """Return the URL, if a command can do something with it. Raises UsageError."""
    if not url:
        raise click.UsageError("no store was named: use --url sqlite:///reminders.db, or set KOKUGEN_URL")
    if url.startswith("memory:"):
        raise click.UsageError(
            "a memory store lives and ends with its own process: name a file, sqlite:///reminders.db"
        )
    return url


def refuse_named() -> None:
    """Refuse --url and --namespace beside --app. Raises UsageError."""
    context = click.get_current_context()
    for name in ("url", "namespace"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--app says which store: leave --{name} out")


def file_of(url: str) -> Path | None:
    """Return the file behind a SQLite store's address, or None."""
    scheme, _, rest = url.partition("://")
    return Path(rest[1:]) if names_file(scheme, rest) else None


def refuse_missing(url: str) -> None:
    """Refuse a SQLite file, or a schema of a server, that is not there. Raises UsageError, RepositoryError."""
    path = file_of(url)
    if is_missing(path) if path is not None else stored_version(url) is None:
        raise missing(path, url)


def missing(path: Path | None, url: str) -> click.UsageError:
    """Return the refusal of a store that is not there."""
    return click.UsageError(f"there is no store at {path or mask(url)}: `kokugen migrate` makes one")


def is_missing(path: Path) -> bool:
    """Return whether there is no file, or one in which there is nothing, which is no store either."""
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)
