"""A process that runs work which completes itself: `python -m tests.within.worker URL`, until it is killed."""

from __future__ import annotations

import sys

from kokugen import Retry, Scheduler, Settings, current_run
from tests.within.places import SYNC, note_of

SOON = Settings(watch_s=0.2, poll_s=0.2)


def scheduler_of(url: str) -> Scheduler:
    """Return a scheduler whose work notes a text, in one transaction with its end."""
    scheduler, opens = Scheduler(url, workers=2, settings=SOON), SYNC[url.partition("://")[0]][0]

    @scheduler.work(retry=Retry(20), max_lost=1000)
    def note(text: str) -> None:
        with opens(url) as place:
            place.execute(f"INSERT INTO {note_of(url)} VALUES ('{text}')")
            current_run().complete(place.connection)
            place.commit()

    return scheduler


if __name__ == "__main__":
    scheduler_of(sys.argv[1]).run()
