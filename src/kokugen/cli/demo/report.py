"""What the demo showed: counted from the log that the work wrote and from the store, and put into words.

Called by the command with what the stage saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct

from kokugen.cli.demo.deliveries import Delivery
from kokugen.cli.demo.stage import Outage
from kokugen.task import TaskInfo

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 500, 1000)
BAR_MAX = 40


class Lateness(Struct, frozen=True):
    """How late deliveries were, in milliseconds; nearest rank."""

    count: int
    p50: float
    p99: float
    max: float


class Report(Struct, frozen=True, kw_only=True):
    """The figures of one showing."""

    scheduled: int
    delivered: int
    lost: int
    early: int
    twice: int
    twice_after_takeover: int
    kills: int
    taken_over: int
    lateness_ms: Lateness
    lateness_down_ms: Lateness
    """Of those that were due while no worker ran, or whose run a kill cut off."""
    lates_ms: tuple[float, ...] = ()

    @property
    def good(self) -> bool:
        """Return whether nothing was lost, early, or doubled without a takeover from a killed worker."""
        return not self.lost and not self.early and self.twice == self.twice_after_takeover


def report_of(
    task_ids: Sequence[str], tasks: Iterable[TaskInfo], deliveries: Iterable[Delivery], outages: Sequence[Outage]
) -> Report:
    """Count: a delivery counts if its line is in the log, whatever the store says."""
    lines: dict[str, list[Delivery]] = {task_id: [] for task_id in task_ids}
    for delivery in deliveries:
        lines.setdefault(delivery.task_id, []).append(delivery)
    lost_runs = {info.id: info.lost for info in tasks}
    doubled = {task_id: found for task_id, found in lines.items() if len(found) > 1}
    firsts = [found[0] for found in lines.values() if found]
    down = [one for one in firsts if lost_runs.get(one.task_id) or _in_outage(one, outages)]
    waited = {one.task_id for one in down}
    up = sorted(one.late_us / 1000 for one in firsts if one.task_id not in waited)
    return Report(
        scheduled=len(task_ids),
        delivered=len(firsts),
        lost=sum(not lines[task_id] for task_id in task_ids),
        early=sum(one.late_us < 0 for one in firsts),
        twice=len(doubled),
        twice_after_takeover=sum(_explained(found, lost_runs.get(one, 0)) for one, found in doubled.items()),
        kills=len(outages),
        taken_over=sum(lost > 0 for lost in lost_runs.values()),
        lateness_ms=_lateness(up),
        lateness_down_ms=_lateness(sorted(one.late_us / 1000 for one in down)),
        lates_ms=tuple(up),
    )


def _explained(found: Sequence[Delivery], lost: int) -> bool:
    """Return whether the store recorded a takeover for every delivery but one, each under a fence of its own."""
    return len({one.fence for one in found}) == len(found) <= lost + 1


def _in_outage(delivery: Delivery, outages: Iterable[Outage]) -> bool:
    return any(outage.from_us <= delivery.due_us <= outage.until_us for outage in outages)


def _lateness(lates: Sequence[float]) -> Lateness:
    if not lates:
        return Lateness(0, 0.0, 0.0, 0.0)
    return Lateness(len(lates), *(round(_rank(lates, share), 3) for share in (0.5, 0.99, 1)))


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def as_json(report: Report, store: str, log: str, *, kept: bool) -> dict[str, Any]:
    """Return the report as plain JSON values."""
    return {
        "scheduled": report.scheduled,
        "delivered": report.delivered,
        "lost": report.lost,
        "early": report.early,
        "delivered_twice": report.twice,
        "delivered_twice_after_takeover": report.twice_after_takeover,
        "workers_killed": report.kills,
        "taken_over": report.taken_over,
        "lateness_ms": _figures(report.lateness_ms),
        "lateness_while_down_ms": _figures(report.lateness_down_ms),
        "store": store,
        "deliveries": log,
        "kept": kept,
        "good": report.good,
    }


def _figures(lateness: Lateness) -> dict[str, float]:
    return {"count": lateness.count, "p50": lateness.p50, "p99": lateness.p99, "max": lateness.max}


def in_words(report: Report) -> Iterator[str]:
    """Yield the report's lines."""
    yield f"scheduled         {report.scheduled:>5}"
    yield f"delivered         {report.delivered:>5}"
    yield f"lost              {report.lost:>5}"
    yield f"delivered twice   {report.twice:>5}" + _why_twice(report)
    yield f"early             {report.early:>5}"
    yield f"workers killed    {report.kills:>5}   ({report.taken_over} runs that they left were taken over)"
    yield ""
    yield _sentence("lateness", report.lateness_ms)
    yield from _histogram(report.lates_ms)
    yield _sentence("due while no worker ran", report.lateness_down_ms)


def _why_twice(report: Report) -> str:
    if not report.twice:
        return ""
    return f"   ({report.twice_after_takeover} with a recorded takeover: killed before they were marked done)"


def _sentence(what: str, late: Lateness) -> str:
    if not late.count:
        return f"{what}: none"
    return f"{what} ({late.count}): p50 {late.p50:,.1f} ms, p99 {late.p99:,.1f} ms, max {late.max:,.1f} ms"


def _histogram(lates_ms: Sequence[float]) -> Iterator[str]:
    """Yield a bar for each range of lateness up to the last that occurs."""
    edges = (0.0, *BOUNDS_MS, float("inf"))
    counts = [sum(low <= late < high for late in lates_ms) for low, high in pairwise(edges)]
    tallest = max(counts, default=0)
    last = max((index for index, count in enumerate(counts) if count), default=-1)
    for index in range(last + 1):
        high = edges[index + 1]
        label = f"< {high:,.0f} ms" if high != float("inf") else f">= {edges[index]:,.0f} ms"
        bar = "█" * round(BAR_MAX * counts[index] / tallest) or ("▏" if counts[index] else "")
        yield f"  {label:>10} {counts[index]:>5} {bar}".rstrip()
