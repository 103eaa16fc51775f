"""Cron: the times of a cron expression in a time zone.

`cron_text` reads the expression, `pattern` holds its local times, and `wall` turns those into instants.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from kokugen.errors import TriggerError
from kokugen.recurrence.cron_text import Parsed, parse
from kokugen.recurrence.plain import check_name
from kokugen.recurrence.wall import MaskedWalls, WallTrigger

HASH = re.compile(r"(?<![A-Za-z0-9_])H(?![A-Za-z0-9_])")


class Cron(WallTrigger, frozen=True, tag="cron"):
    """The times of a cron expression: `Cron("0 9 * * mon-fri", tz="Asia/Tokyo")`. Without a zone it is UTC.

    Five fields (minute, hour, day of the month, month, day of the week), or six with the second first; `@daily` and
    the like; `@every 1h30m`; `TZ=zone` may stand before the fields. `key` is what `H` spreads by. An expression whose
    second, minute or hour is a wildcard (`*`, `*/n`, `H/n`) goes by real time: it comes as often as the clock shows
    its local times; all others follow `gap` and `fold`. Raises CronExpressionError.
    """

    expression: str
    key: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.key is not None:
            check_name("Cron: key", self.key)
        own = self._parsed.tz
        if own is not None and self.tz not in {"UTC", own}:
            raise TriggerError(f"Cron: {self.expression!r} says its zone itself: leave tz={self.tz!r} out")

    @property
    def is_real(self) -> bool:
        return self._parsed.is_real

    @property
    def zone_name(self) -> str:
        return self._parsed.tz or self.tz

    @cached_property
    def walls(self) -> MaskedWalls:
        return self._parsed.walls

    @property
    def masked_walls(self) -> MaskedWalls:
        return self.walls

    @cached_property
    def _parsed(self) -> Parsed:
        return parse(self.expression, self.key)


def cron_of(expression: str, key: str, **policy: Any) -> Cron:
    """Return the times of an expression that is a schedule's: where it has an H, it spreads by `key`, its name."""
    return Cron(expression, key=key if HASH.search(expression) else None, **policy)
