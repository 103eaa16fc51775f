"""The command `kokugen`: it finds the command asked for, runs it, and turns every refusal into one line and code 2.

Called by the script `kokugen` and `python -m kokugen.cli`. Calls one function of the module that `COMMANDS` names;
only that module is imported, so that `kokugen --help` need not load a store.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from kokugen.cli import console
from kokugen.cli.console import complain, escaped
from kokugen.errors import KokugenError

COMMANDS = {
    "demo": ("kokugen.cli.demo.command", "Schedule real reminders, kill the worker twice, and count."),
    "worker": ("kokugen.cli.worker", "Run the work of MODULE:SCHEDULER until SIGTERM or SIGINT."),
    "schedule": ("kokugen.cli.schedule", "Schedule a task of the work WORK_ID."),
    "list": ("kokugen.cli.tasks", "List tasks, earliest due first."),
    "show": ("kokugen.cli.tasks", "Show all that is known of the task ID, and draw its life."),
    "cancel": ("kokugen.cli.changes", "Cancel tasks, by id or all that a filter finds."),
    "reschedule": ("kokugen.cli.changes", "Move the waiting task ID to another time."),
    "revive": ("kokugen.cli.changes", "Make ended tasks wait again, by id or all that a filter finds."),
    "release": ("kokugen.cli.release", "Let tasks on hold wait for a worker again, by id or all that a filter finds."),
    "every": ("kokugen.cli.every", "Schedule a task of the work WORK_ID at every time of WHEN."),
    "edit": ("kokugen.cli.edit", "Change the schedule NAME from now on: what is said, and nothing else of it."),
    "import": ("kokugen.cli.imports", "Make schedules of what cron, APScheduler 3 or celery beat runs."),
    "schedules": ("kokugen.cli.schedules", "List schedules, with when each comes next."),
    "pause": ("kokugen.cli.schedules", "Pause the schedule NAME: make no task of it until it is resumed."),
    "resume": ("kokugen.cli.schedules", "Resume the schedule NAME. What passed during its pause does not run."),
    "trigger": ("kokugen.cli.schedules", "Make one task of the schedule NAME now, besides its own."),
    "backfill": (
        "kokugen.cli.schedules",
        "Run those times of the schedule NAME that did not run, one after the other.",
    ),
    "remove": ("kokugen.cli.audit", "Remove the schedule NAME. Its ledger stays, and a rollback brings it back."),
    "rollback": ("kokugen.cli.audit", "Undo the last edit, or the removal, of the schedule NAME."),
    "audit": ("kokugen.cli.audit", "List the changes of the schedule NAME: who, when, why, and what was changed."),
    "ledger": ("kokugen.cli.ledger", "Say of every time of the schedule NAME whether it ran, and if not, why."),
    "why": (
        "kokugen.cli.ledger",
        "Say in plain words why the schedule NAME, or the task of that id, runs now or does not.",
    ),
    "preview": (
        "kokugen.cli.preview",
        "Say what all schedules will run, as things are. Days on which clocks change are marked.",
    ),
    "calendar": ("kokugen.cli.calendar", "Draw what all schedules, or those with these NAMEs, will run when."),
    "nodes": ("kokugen.cli.nodes", "List the processes that run work on the store, and what they run."),
    "prune": ("kokugen.cli.upkeep", "Delete tasks that ended long ago, with their history."),
    "backup": ("kokugen.cli.backup", "Copy the SQLite store into the new file FILE, while workers run."),
    "copy": ("kokugen.cli.copy", "Copy all tasks of the store FROM into the store TO."),
    "migrate": ("kokugen.cli.upkeep", "Make the store, or bring its schema up to date."),
    "health": ("kokugen.cli.upkeep", "Say how the store is: exit code 0 if well, 1 if not."),
    "doctor": ("kokugen.cli.doctor", "Look a store over, and say what to do: exit code 1 if there is a problem."),
    "completion": ("kokugen.cli.completion", "Print the script that completes commands, options and ids."),
}
DONE_BUT = 1
REFUSED = 2
INTERRUPTED = 130
READER_GONE = 141
"""What a shell says of a program that SIGPIPE ended: of most, where whoever read the output has gone."""


class InterruptError(Exception):
    """Ctrl-C."""


class Commands(click.Group):
    """The commands, each imported when it is used; no error that a user can make ends in a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), f"{cmd_name}_command")
        assert isinstance(command, click.Command), f"{cmd_name} is no command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what click would report in its own way, we do in ours."""
        try:
            code = super().invoke(ctx)
            console.echo(nl=False)
        except KeyboardInterrupt:
            raise InterruptError from None
        return code

    def main(self, args: Sequence[str] | None = None, *_: object, **__: object) -> NoReturn:
        """Run the command line and exit: 0 done, 1 something is wrong, 2 refused, 130 interrupted."""
        sys.exit(self._run(list(sys.argv[1:] if args is None else args)))

    __call__ = main

    def _run(self, words: list[str]) -> int:
        console.remember(None)
        console.open_streams()
        try:
            check_words(words)
            code = super().main(words, "kokugen", standalone_mode=False)
            return code if isinstance(code, int) else 0
        except click.exceptions.Exit as exit_:
            return exit_.exit_code
        except (click.Abort, InterruptError):
            return complain(": ".join(filter(None, ("interrupted", console.deed()))), INTERRUPTED)
        except click.ClickException as error:
            return complain(refusal(error), REFUSED)
        except console.OutputError as error:
            return unwritten(error)
        except (KokugenError, OSError, UnicodeError) as error:
            return failed(error)


def unwritten(error: console.OutputError) -> int:
    """Say what was done, where its line could not be written; where nothing was, whoever has gone needs no word."""
    console.forget_output()
    deed = console.deed()
    if deed:
        return complain(f"{deed}, but its line could not be written: {error}", DONE_BUT)
    return READER_GONE if error.closed else complain(f"the output could not be written: {error}", DONE_BUT)


def failed(error: Exception) -> int:
    """Say why it was refused, or why it got no further than it did."""
    why, deed = str(error) or type(error).__name__, console.deed()
    return complain(f"{why}; before that: {deed}", DONE_BUT) if deed else complain(why, REFUSED)


def check_words(words: list[str]) -> None:
    """Refuse words that no store could keep: bytes that are not UTF-8, and NUL."""
    for word in words:
        if "\0" in word or any("\ud800" <= char <= "\udfff" for char in word):
            raise click.UsageError(f"the argument {escaped(word)!r} is not text in UTF-8")


def refusal(error: click.ClickException) -> str:
    """Return click's message as a line, with the help that answers it."""
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    return error.format_message().rstrip(".") + hint


def version() -> str:
    """Return the installed version."""
    from importlib.metadata import version as installed

    return installed("kokugen")


def show_version(ctx: click.Context, _: click.Parameter, wanted: Any) -> None:
    """Print the version and exit, for --version."""
    if wanted and not ctx.resilient_parsing:
        console.echo(f"kokugen {version()}")
        ctx.exit()


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version, help="Print it.")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Schedule tasks that outlive every crash, and look after them.

    The store is named by --url or KOKUGEN_URL, such as sqlite:///reminders.db.
    """
    if ctx.invoked_subcommand is None:
        console.echo(ctx.get_help())
