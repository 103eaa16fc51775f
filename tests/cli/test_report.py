"""What the demo counts: the log of what happened is compared with what was asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kokugen.cli.demo.deliveries import Delivery, DeliveryLog, count_deliveries, read_deliveries
from kokugen.cli.demo.report import Report, as_json, in_words, report_of
from kokugen.cli.demo.stage import Outage
from kokugen.errors import InvalidEntryError
from kokugen.task import TaskInfo

IDS = ["a", "b", "c"]


def told(task_id: str, late_us: int = 500, fence: int = 1, due_us: int = 1_000_000) -> Delivery:
    return Delivery(task_id, due_us, due_us + late_us, 1, fence)


def task(task_id: str, lost: int = 0) -> TaskInfo:
    return TaskInfo(work_id="remind", scheduled_time=datetime(2026, 1, 1, tzinfo=UTC), id=task_id, lost=lost)


def report(deliveries: list[Delivery], lost: dict[str, int] | None = None, outages: tuple[Outage, ...] = ()) -> Report:
    return report_of(IDS, [task(one, (lost or {}).get(one, 0)) for one in IDS], deliveries, outages)


def test_each_delivered_once_is_good() -> None:
    found = report([told(one) for one in IDS])
    assert (found.scheduled, found.delivered, found.lost, found.twice, found.good) == (3, 3, 0, 0, True)


def test_a_task_without_a_line_is_lost() -> None:
    found = report([told("a"), told("b")])
    assert (found.lost, found.good) == (1, False)


def test_a_second_line_without_a_takeover_is_bad() -> None:
    found = report([*map(told, IDS), told("b", fence=2)])
    assert (found.twice, found.twice_after_takeover, found.good) == (1, 0, False)


def test_a_second_line_after_a_takeover_is_explained() -> None:
    found = report([*map(told, IDS), told("b", fence=2)], {"b": 1})
    assert (found.twice, found.twice_after_takeover, found.good) == (1, 1, True)


def test_a_third_line_needs_a_second_takeover() -> None:
    thrice = [*map(told, IDS), told("b", fence=2), told("b", fence=3)]
    assert not report(thrice, {"b": 1}).good
    assert report(thrice, {"b": 2}).good


def test_two_lines_of_one_run_are_never_explained() -> None:
    assert not report([*map(told, IDS), told("b")], {"b": 1}).good


def test_an_early_delivery_is_bad() -> None:
    assert not report([told("a"), told("b"), told("c", late_us=-1)]).good


def test_lateness_is_nearest_rank_and_apart_for_what_was_due_while_no_worker_ran() -> None:
    outages = (Outage(5_000_000, 6_000_000),)
    found = report([told("a", 1000), told("b", 3000), told("c", 900_000, due_us=5_100_000)], outages=outages)
    assert (found.lateness_ms.count, found.lateness_ms.p50, found.lateness_ms.max) == (2, 1.0, 3.0)
    assert (found.lateness_down_ms.count, found.lateness_down_ms.p99) == (1, 900.0)


def test_a_report_of_nothing_can_be_told() -> None:
    assert "lost                  3" in "\n".join(in_words(report([])))


def test_the_report_reads_well_and_is_json() -> None:
    found = report([told("a", 400), told("b", 1400), told("c", 700_000)], {"c": 1})
    words = "\n".join(in_words(found))
    assert "delivered             3" in words
    assert "< 1 ms     1 █" in words
    assert json.loads(json.dumps(as_json(found, "reminders.db", "log", kept=True)))["lost"] == 0


def test_the_log_keeps_each_line_of_several_writers(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first, second = DeliveryLog(path), DeliveryLog(path)
    for log, line in ((first, "a"), (second, "b"), (first, "c")):
        log.append(told(line))
    assert [one.task_id for one in read_deliveries(path)] == ["a", "b", "c"]
    assert count_deliveries(path) == 3


def test_no_log_is_no_deliveries(tmp_path: Path) -> None:
    assert (read_deliveries(tmp_path / "none"), count_deliveries(tmp_path / "none")) == ([], 0)


def test_a_broken_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a 1 2\n", encoding="ascii")
    with pytest.raises(InvalidEntryError, match="no delivery"):
        read_deliveries(tmp_path / "log")
