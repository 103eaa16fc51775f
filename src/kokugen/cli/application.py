"""The application that MODULE:SCHEDULER names: imported, and its scheduler found. Called by worker and schedule."""

from __future__ import annotations

import importlib
import os
import sys
from operator import attrgetter
from typing import TYPE_CHECKING

import click

from kokugen.errors import KokugenError

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler


def find_scheduler(target: str) -> Scheduler | AsyncScheduler:
    """Import the module and return its scheduler. Raises UsageError where there is none."""
    from kokugen import AsyncScheduler, Scheduler

    module_name, colon, name = target.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), *name.split(".")]):
        raise click.UsageError(f"{target!r} is not MODULE:SCHEDULER, such as shop.jobs:scheduler")
    module = import_module(module_name)
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        raise click.UsageError(f"the module {module_name} has no {name!r}") from None
    if not isinstance(found, Scheduler | AsyncScheduler):
        raise click.UsageError(f"{target} is no Scheduler but a {type(found).__name__}")
    return found


def import_module(name: str) -> object:
    """Import a module of the application, from the current directory first. Raises UsageError."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as Python itself does for `python -m`
    try:
        return importlib.import_module(name)
    except KokugenError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise click.UsageError(f"the module {name!r} cannot be imported: {reason}") from error
