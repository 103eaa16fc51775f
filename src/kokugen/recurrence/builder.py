"""Says a cron row in words: `CronRowBuilder().daily(hour=(9,), minute=(30,)).command("report").build()`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kokugen.recurrence.row import CronRow


class CronRowBuilder:
    """The seed's builder: each method returns a new builder. A field without values allows every value.

    `yearly`, `monthly`, `weekly`, `daily`, `hourly` and `reboot` start the times anew and keep the command.
    """

    __slots__ = ("_row",)

    def __init__(self, row: CronRow = CronRow()) -> None:  # noqa: B008 - a frozen value
        self._row = row

    def weekday(self, *values: int) -> CronRowBuilder:
        """Allow these weekdays, Sunday is 0."""
        return self._with(weekday=values)

    def month(self, *values: int) -> CronRowBuilder:
        return self._with(month=values)

    def day(self, *values: int) -> CronRowBuilder:
        """Allow these days of the month; one that a month does not have is its last day."""
        return self._with(day=values)

    def hour(self, *values: int) -> CronRowBuilder:
        return self._with(hour=values)

    def minute(self, *values: int) -> CronRowBuilder:
        return self._with(minute=values)

    def second(self, *values: int) -> CronRowBuilder:
        return self._with(second=values)

    def command(self, work_id: str, *args: str) -> CronRowBuilder:
        """Run this work with these arguments."""
        return self._with(command=(work_id, *args))

    def yearly(
        self, month: Iterable[int], day: Iterable[int], hour: Iterable[int], minute: Iterable[int]
    ) -> CronRowBuilder:
        return self.monthly(day, hour, minute).month(*month)

    def monthly(self, day: Iterable[int], hour: Iterable[int], minute: Iterable[int]) -> CronRowBuilder:
        return self.daily(hour, minute).day(*day)

    def weekly(self, weekday: Iterable[int], hour: Iterable[int], minute: Iterable[int]) -> CronRowBuilder:
        return self.daily(hour, minute).weekday(*weekday)

    def daily(self, hour: Iterable[int], minute: Iterable[int]) -> CronRowBuilder:
        return self.hourly(minute).hour(*hour)

    def hourly(self, minute: Iterable[int]) -> CronRowBuilder:
        return self.reboot().minute(*minute)

    def reboot(self) -> CronRowBuilder:
        """Run once, at the start."""
        return CronRowBuilder(CronRow(command=self._row.command))

    def build(self) -> CronRow:
        """Return the row."""
        return self._row

    def _with(self, **changes: tuple[int, ...] | tuple[str, ...]) -> CronRowBuilder:
        return CronRowBuilder(CronRow(**{**_fields(self._row), **changes}))


def _fields(row: CronRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}
