"""`python manage.py kokugen_worker`: runs the work of the project's scheduler until SIGTERM or SIGINT."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandError

from kokugen.cli.worker import serve
from kokugen.errors import KokugenError
from kokugen.integrations.django.apps import config


class Command(BaseCommand):  # type: ignore[misc] # Django tells no types
    """As `kokugen worker`, with the scheduler that the setting KOKUGEN_SCHEDULER names."""

    help = "Run the work of the scheduler that KOKUGEN_SCHEDULER names until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workers", type=int, metavar="N", help="Threads for sync work.")
        parser.add_argument("--queues", metavar="NAME,NAME", help="Serve these queues, not the scheduler's own.")
        parser.add_argument("--grace", metavar="SPAN", help="How long runs may take to end, such as 30s.")

    def handle(self, *_: Any, workers: int | None, queues: str | None, grace: str | None, **__: Any) -> None:
        try:
            serve(lambda: config().scheduler, workers, queues, grace)
        except (click.UsageError, KokugenError) as error:
            raise CommandError(str(error), returncode=2) from error
