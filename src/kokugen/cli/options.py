"""How a task is to run, as people type it: a mode, a retry, spans, a level. Called by `kokugen schedule` and `every`.

What is not typed stays None: the work's declaration decides it then, or the default.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from kokugen.cli import times
from kokugen.errors import OptionError
from kokugen.retry import ATTEMPTS_MAX, DELAY_MAX, Retry
from kokugen.task import Mode, OnDuplicate, Priority, replace

F = TypeVar("F", bound=Callable[..., Any])
PRIORITIES = [level.name.lower() for level in Priority]
MODES = [mode.name.lower().replace("_", "-") for mode in Mode]
DUPLICATES = [one.name.lower() for one in OnDuplicate]
NOUN = "retry_"
DELAYS = ("initial", "delay_max")
FACTORS = (1, 1000)


def key_options(command: F) -> F:
    """Add the options of a single task, which tell it from all others; `chosen_options` reads them."""
    return _with(
        command,
        click.option("--unique", metavar="KEY", help="Refuse it while another task with this key is not over."),
        click.option(
            "--on-duplicate",
            type=click.Choice(DUPLICATES, case_sensitive=False),
            help="What becomes of it where the key is taken.",
        ),
        click.option("--id", metavar="ID", help="Its id: the same id again changes nothing."),
    )


def task_options(command: F) -> F:
    """Add the options of a task to a command; `chosen_options` reads them."""
    return _with(
        command,
        click.option("--queue", metavar="NAME", help="The queue, if not the default one."),
        click.option("--on", metavar="PLACE", help="Where it runs, such as processes."),
        click.option(
            "--priority", type=click.Choice(PRIORITIES, case_sensitive=False), help="Which goes first when due."
        ),
        click.option("--limit-key", metavar="KEY", help="Have a limit in common with the tasks of this key."),
        click.option("--tag", "tags", multiple=True, metavar="NAME", help="A tag to find it by. Repeat it."),
        click.option(
            "--mode", type=click.Choice(MODES, case_sensitive=False), help="Whether it runs again after a crash."
        ),
        click.option("--timeout", metavar="SPAN", help="Ask a run to stop that takes longer."),
        click.option("--start-within", metavar="SPAN", help="Give it up if it could not start so soon after."),
        click.option("--max-lost", type=int, metavar="N", help="Fail it once its runs were cut off so often."),
        click.option(
            "--retry-attempts",
            type=click.IntRange(1, ATTEMPTS_MAX),
            metavar="N",
            help="Try it so often if it raises; 5 where only the rest is said.",
        ),
        click.option("--retry-initial", metavar="SPAN", help="Wait so long after the first attempt."),
        click.option("--retry-factor", type=float, metavar="X", help="Wait so many times as long after each."),
        click.option("--retry-delay-max", metavar="SPAN", help="But never longer than this."),
        click.option("--retry-jitter/--no-retry-jitter", default=None, help="Whether to wait less, by chance."),
    )


def _with(command: F, *options: Callable[[F], F]) -> F:
    for decorated in reversed(options):
        command = decorated(command)
    return command


def chosen_options(given: dict[str, Any], declared: Retry | None = None) -> dict[str, Any]:
    """Return what was typed, as keywords of `TaskParam`. Raises OptionError, ScheduledTimeError.

    What is not said of a retry is as declared, or as in `Retry()`.
    """
    retry = {name.removeprefix(NOUN): value for name, value in given.items() if name.startswith(NOUN)}
    chosen = {name: value for name, value in given.items() if not name.startswith(NOUN)}
    for name in ("timeout", "start_within"):
        chosen[name] = some_span_of(name, given[name])
    chosen["tags"] = given["tags"] or None
    chosen["priority"] = None if given["priority"] is None else Priority[given["priority"].upper()]
    chosen["mode"] = None if given["mode"] is None else given["mode"].replace("-", "_")
    chosen["retry"] = chosen_retry(retry, declared)
    return chosen


def chosen_retry(given: dict[str, Any], declared: Retry | None) -> Retry | None:
    """Return the retry that was typed, if anything was said of one. Raises OptionError, ScheduledTimeError."""
    said = {name: value for name, value in given.items() if value is not None}
    typed = " ".join(f"{option(NOUN + name)} {said[name]}" for name in DELAYS if name in said)
    for name in said.keys() & set(DELAYS):
        said[name] = span_of(NOUN + name, said[name])
    if not said:
        return None
    if not FACTORS[0] <= said.get("factor", FACTORS[0]) <= FACTORS[1]:
        raise OptionError(f"--retry-factor {said['factor']}: use {FACTORS[0]} to {FACTORS[1]:,}")
    base = declared or Retry()
    if "initial" in said and "delay_max" not in said:
        said["delay_max"] = max(base.delay_max, said["initial"])
    first, longest = said.get("initial", base.initial), said.get("delay_max", base.delay_max)
    if not first <= longest <= DELAY_MAX:
        raise OptionError(
            f"{typed}: use up to {DELAY_MAX.days} days, and a first wait ({first}) that is no longer than the longest "
            f"({longest})"
        )
    retry: Retry = replace(base, **said)
    return retry


def option(name: str) -> str:
    """Return a name as it is typed."""
    return "--" + name.replace("_", "-")


def some_span_of(name: str, text: str | None) -> Any:
    """Return the span that an option says, above zero and up to 30 days. Raises OptionError, ScheduledTimeError."""
    span = span_of(name, text)
    if span is not None and not timedelta(0) < span <= DELAY_MAX:
        raise OptionError(f"{option(name)} {text!r}: use a span above zero, up to {DELAY_MAX.days} days")
    return span


def span_of(name: str, text: str | None) -> Any:
    """Return the span that an option says, if it says one."""
    return None if text is None else times.parse_span(text, option(name))
