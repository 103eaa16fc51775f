"""`kokugen worker MODULE:SCHEDULER`: runs an application's work until SIGTERM or SIGINT. Calls the Scheduler's start.

The only place that may end a process hard: at a second signal, when work will not stop within the grace period, and
when the engine broke down, for then the work that it left may run for ever.
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
from kokugen.errors import KokugenError

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler

STILL_RUNNING = BROKEN = 1
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
    run(scheduler, asked, span)


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


def run(scheduler: Scheduler | AsyncScheduler, asked: threading.Event, grace: timedelta | None) -> None:
    """Run work until asked to stop; end the process hard where some of it still runs then."""
    from kokugen import AsyncScheduler

    if isinstance(scheduler, AsyncScheduler):
        asyncio.run(run_async(scheduler, asked, grace))
        return
    scheduler.start()
    announce(scheduler)
    while scheduler.running and not asked.wait(LOOK_S):
        pass
    end_if_broken(asked)
    announce_stop()
    if not scheduler.stop(grace):
        with suppress(KokugenError):  # it ends all the same, and is found out later
            scheduler.abandon()
        end_running()
    scheduler.close()


async def run_async(scheduler: AsyncScheduler, asked: threading.Event, grace: timedelta | None) -> None:
    """Run as `run`, with this loop for the async work.

    It too ends the process by itself: asyncio would first wait for the coroutines that would not stop.
    """
    await scheduler.start()
    announce(scheduler)
    while scheduler.running and not await asyncio.to_thread(asked.wait, LOOK_S):
        pass
    end_if_broken(asked)
    announce_stop()
    if not await scheduler.stop(grace):
        with suppress(KokugenError):
            await scheduler.abandon()
        end_running()
    await scheduler.close()


def end_if_broken(asked: threading.Event) -> None:
    """End the process where the scheduler stopped without being asked to: nobody keeps its runs any more."""
    if not asked.is_set():
        console.complain("the scheduler stopped by itself: its error stands above; start the worker again", BROKEN)
        end_hard(BROKEN)


def announce(scheduler: Scheduler | AsyncScheduler) -> None:
    """Say on stderr that work runs from now on."""
    click.echo(console.escaped(f"kokugen: process {os.getpid()} runs the work due in {scheduler.url}"), err=True)


def announce_stop() -> None:
    """Say on stderr that the signal was heard."""
    click.echo("kokugen: stops when its work has ended; a second signal ends it at once", err=True)


def end_running() -> NoReturn:
    """End the process although work of it runs. Soon after the runs were abandoned: others take them over by then."""
    console.complain("work runs on after the grace period: the process ends, and its tasks run again", STILL_RUNNING)
    end_hard(STILL_RUNNING)


def end_hard(code: int) -> NoReturn:
    """End the process without waiting for its threads: what they ran is taken over."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
