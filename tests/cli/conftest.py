"""A store in a new folder, and the command line over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kokugen import Scheduler, TaskParam
from kokugen.cli import main
from kokugen.clock import SystemClock, from_us


@dataclass
class CommandLine:
    """Runs `kokugen …` on one store."""

    url: str
    path: Path

    def __call__(self, *words: str) -> Result:
        result = CliRunner().invoke(main, list(words), env={"KOKUGEN_URL": self.url})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def done(self, *words: str) -> str:
        """Run it, and return what it printed; it must succeed."""
        result = self(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.done(*words, "--json"))

    def refused(self, *words: str) -> str:
        """Run it, and return its one line of complaint; it must be refused."""
        result = self(*words)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("kokugen: "), result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr


@pytest.fixture
def kokugen(tmp_path: Path) -> CommandLine:
    path = tmp_path / "tasks.db"
    return CommandLine(f"sqlite:///{path}", path)


@pytest.fixture
def scheduler(kokugen: CommandLine) -> Iterator[Scheduler]:
    scheduler = Scheduler(kokugen.url)
    scheduler.open()
    yield scheduler
    scheduler.close()


Add = Callable[..., str]


@pytest.fixture
def add(scheduler: Scheduler) -> Add:
    """Schedules a task of `remind` an hour from now, with any option; returns its id."""

    def add(**options: Any) -> str:
        hour = from_us(SystemClock().wall_us()) + timedelta(hours=1)
        return scheduler.schedule(TaskParam(**{"work_id": "remind", "scheduled_time": hour, **options})).id

    return add
