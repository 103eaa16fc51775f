"""The demo's worker process: `python -m kokugen.cli.demo.worker URL LOG`. Started, and killed, by the stage.

It says `ready` on stdout once it runs, and stops when its stdin is closed: so it never outlives the demo.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from kokugen import FunctionRegistry, Scheduler, current_run
from kokugen.cli.demo.deliveries import Delivery, DeliveryLog
from kokugen.clock import SystemClock, to_us


def reminders_of(log: DeliveryLog) -> FunctionRegistry:
    """Return the one work of the demo: to deliver a reminder, which here is a line in the log."""
    works = FunctionRegistry()
    clock = SystemClock()

    @works.work
    def remind(who: str, text: str) -> str:
        run = current_run()
        at_us = clock.wall_us()
        log.append(Delivery(run.task_id, to_us(run.scheduled_time), at_us, os.getpid(), run.fence))
        return f"told {who}: {text}"

    return works


def main(url: str, log: str) -> None:
    """Run what is due until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the demo, which closes stdin
    with Scheduler(url, works=reminders_of(DeliveryLog(Path(log)))):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
