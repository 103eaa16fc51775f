"""`kokugen worker MODULE:SCHEDULER`: runs an application's work until SIGTERM or SIGINT. Calls the Scheduler's start.

The only place that may end a process hard: at a second signal, and when threads will not stop within the grace period.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import click

from kokugen.cli import console, times
from kokugen.cli.application import find_scheduler
from kokugen.errors import KokugenError, SchedulerStateError

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler

STILL_RUNNING = 1
LOOK_S = 1.0


@click.command("worker")
@click.argument("target", metavar="MODULE:SCHEDULER")
@click.option("--workers", type=click.IntRange(1, 10_000), metavar="N", help="Threads for sync work.")
@click.option("--queues", metavar="NAME,NAME", help="Serve these queues, not the scheduler's own.")
@click.option("--grace", metavar="SPAN", help="How long runs may take to end, such as 30s.")
def worker_command(target: str, workers: int | None, queues: str | None, grace: str | None) -> None:
    """Run the work of MODULE:SCHEDULER until SIGTERM or SIGINT.

    MODULE is imported as Python would from here, and SCHEDULER is the name of its Scheduler or AsyncScheduler. The
    first signal lets runs end within the grace period; a second one ends the process at once.
    """
    span = None if grace is None else times.parse_span(grace, "--grace")
    scheduler = find_scheduler(target)
    scheduler.configure(workers=workers, queues=None if queues is None else queues.split(","))
    asked = stop_signals()
    if not run(scheduler, asked, span):
        console.complain("work runs on after the grace period: the process ends, and its tasks run again", 1)
        end_hard(STILL_RUNNING)


def stop_signals() -> threading.Event:
    """Return what the first SIGTERM or SIGINT sets; the second one ends the process."""
    asked = threading.Event()

    def hear(number: int, _: object) -> None:
        if asked.is_set():
            end_hard(128 + number)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
    return asked


def run(scheduler: Scheduler | AsyncScheduler, asked: threading.Event, grace: timedelta | None) -> bool:
    """Run work until asked to stop; return whether nothing of it still runs."""
    from kokugen import AsyncScheduler

    if isinstance(scheduler, AsyncScheduler):
        return asyncio.run(run_async(scheduler, asked, grace))
    scheduler.start()
    announce(scheduler)
    while scheduler.running and not asked.wait(LOOK_S):
        pass
    refuse_ended(asked)
    announce_stop()
    stopped = scheduler.stop(grace)
    if stopped:
        scheduler.close()
    else:
        with suppress(KokugenError):  # it ends all the same, and is found out later
            scheduler.abandon()
    return stopped


async def run_async(scheduler: AsyncScheduler, asked: threading.Event, grace: timedelta | None) -> bool:
    """Run as `run`, with this loop for the async work."""
    await scheduler.start()
    announce(scheduler)
    while scheduler.running and not await asyncio.to_thread(asked.wait, LOOK_S):
        pass
    refuse_ended(asked)
    announce_stop()
    stopped = await scheduler.stop(grace)
    if stopped:
        await scheduler.close()
    else:
        with suppress(KokugenError):
            await scheduler.abandon()
    return stopped


def refuse_ended(asked: threading.Event) -> None:
    """Raise SchedulerStateError where it ended without being asked to."""
    if not asked.is_set():
        raise SchedulerStateError("the scheduler stopped by itself: its error stands above; start the worker again")


def announce(scheduler: Scheduler | AsyncScheduler) -> None:
    """Say on stderr that work runs from now on."""
    click.echo(console.escaped(f"kokugen: process {os.getpid()} runs the work due in {scheduler.url}"), err=True)


def announce_stop() -> None:
    """Say on stderr that the signal was heard."""
    click.echo("kokugen: stops when its work has ended; a second signal ends it at once", err=True)


def end_hard(code: int) -> NoReturn:
    """End the process without waiting for its threads: what they ran is taken over."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
