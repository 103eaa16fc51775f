"""`kokugen limits`, and what other commands say of tasks that wait for one."""

from __future__ import annotations

from kokugen.cli.limits import row
from kokugen.clock import SystemClock, from_us
from kokugen.repository.limit_rows import GateStatus

from .conftest import CommandLine


def scheduled(kokugen: CommandLine, count: int = 2) -> list[str]:
    """Schedule tasks with one limit key and return their ids."""
    words = ("schedule", "import_file", "--limit-key", "ann", "--in", "0s")
    return [kokugen.json(*words)["id"] for _ in range(count)]


def test_a_limit_is_listed_with_who_has_its_places_and_who_waits(kokugen: CommandLine) -> None:
    kokugen.done("migrate")
    assert "no limit" in kokugen.done("limits")
    scheduled(kokugen, 3)
    (gate,) = kokugen.json("limits")
    assert (gate["name"], gate["taken"], gate["waiting"]) == ("key:ann", 1, 2)
    assert "key:ann" in kokugen.done("limits")


def test_a_task_says_which_limit_it_waits_for(kokugen: CommandLine) -> None:
    first, second = scheduled(kokugen)
    assert kokugen.done("list").count("waits for the limit key:ann") == 1
    assert "waits for   the limit key:ann" in kokugen.done("show", second)
    assert "waits for" not in kokugen.done("show", first)
    assert kokugen.json("show", second)["limit_key"] == "ann"


def test_a_task_that_is_released_still_waits_for_its_limit(kokugen: CommandLine) -> None:
    _, second = scheduled(kokugen)
    kokugen.done("release", second)
    assert "waits for   the limit key:ann" in kokugen.done("show", second)


def test_a_rate_and_places_are_told_in_words() -> None:
    now = SystemClock().wall_us()
    gate = GateStatus(name="work:w", at_once=5, interval_us=600_000, burst=3, taken=2, waiting=1_000, oldest_due=now)
    assert row(gate, from_us(now))[:4] == ("work:w", "2 of 5", "1 in 600 ms, bursts of 3", "1,000")
    each = GateStatus(name="keys:w", at_once=5, interval_us=None, burst=1, taken=0, waiting=0, oldest_due=None)
    assert row(each, from_us(now)) == ("keys:w", "5 each", "–", "–", "–")
