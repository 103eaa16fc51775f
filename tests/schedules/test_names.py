"""Looking for a schedule by what is no name is refused in the same words by every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kokugen import Scheduler
from kokugen.errors import OptionError

TODAY = datetime(2026, 1, 1, tzinfo=UTC)
ASKS: dict[str, Callable[[Scheduler, Any], object]] = {
    "schedule_of": lambda scheduler, name: scheduler.schedule_of(name),
    "edit": lambda scheduler, name: scheduler.edit(name, catchup="all"),
    "pause": lambda scheduler, name: scheduler.pause(name),
    "resume": lambda scheduler, name: scheduler.resume(name),
    "trigger": lambda scheduler, name: scheduler.trigger(name),
    "backfill": lambda scheduler, name: scheduler.backfill(name, TODAY, TODAY),
    "remove": lambda scheduler, name: scheduler.remove(name),
    "rollback": lambda scheduler, name: scheduler.rollback(name),
    "occurrences": lambda scheduler, name: scheduler.occurrences(name),
    "schedule_audit": lambda scheduler, name: scheduler.schedule_audit(name),
    "why": lambda scheduler, name: scheduler.why(name),
}


@pytest.fixture(params=["memory", "sqlite"])
def scheduler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scheduler]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'tasks.db'}"
    scheduler = Scheduler(url)
    yield scheduler
    scheduler.close()


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("name", [5, None, ["daily"], "\ud800"], ids=ascii)
def test_what_is_no_name_is_refused(scheduler: Scheduler, ask: Callable[[Scheduler, Any], object], name: Any) -> None:
    with pytest.raises(OptionError, match="use text"):
        ask(scheduler, name)
