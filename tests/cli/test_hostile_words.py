"""Nothing that is stored or typed reaches a terminal as it is where it could steer it, whichever command prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from kokugen import Scheduler, TaskParam, TaskState
from kokugen.cli import main
from kokugen.clock import SystemClock, from_us
from kokugen.repository.rows import ClaimRequest, Finish, Report, Revision
from kokugen.schedule_options import ScheduleOptions
from kokugen.task import replace
from tests.security.strings import HOSTILE
from tests.security.test_injection import node_of, task_of

from .conftest import CommandLine

STEERING = "a\x1b[2J\x1b]0;title\x07\x9b31m\r\n\u202eb\u2028\u2066\x7f'\""
READING = (
    ("list", "--limit", "100"),
    ("list", "--json"),
    ("schedules",),
    ("schedules", "--json"),
    ("nodes", "--all"),
    ("nodes", "--all", "--json"),
    ("health",),
    ("doctor",),
    ("preview",),
    ("calendar",),
)
ONE_TASK = (("show",), ("show", "--json"), ("why",))
TYPED: tuple[tuple[str, ...], ...] = (
    ("list", "--work", "{}"),
    ("list", "--queue", "{}"),
    ("list", "--tag", "{}"),
    ("list", "--state", "{}"),
    ("show", "{}"),
    ("why", "{}"),
    ("cancel", "{}", "--reason", "{}"),
    ("reschedule", "{}", "--in", "{}"),
    ("revive", "{}"),
    ("release", "{}"),
    ("pause", "hourly", "--note", "{}"),
    ("pause", "{}", "--by", "{}"),
    ("ledger", "{}"),
    ("trigger", "{}"),
    ("schedule", "{}", "--in", "5m"),
    ("schedule", "w", "--in", "5m", "--id", "{}", "--tag", "{}"),
    ("schedule", "w", "--in", "5m", "--arg", "{}", "--kwarg", "k={}"),
    ("schedule", "w", "--at", "{}", "--tz", "{}"),
    ("every", "{}", "w"),
    ("every", "1h", "w", "--name", "{}", "--tz", "{}"),
    ("list", "--namespace", "{}"),
    ("{}",),
)


def run(kokugen: CommandLine, *words: str) -> Result:
    """Run a command; whatever becomes of it, what it prints may be shown by any terminal."""
    result = CliRunner().invoke(main, list(words), env={"KOKUGEN_URL": kokugen.url})
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert result.exit_code in {0, 1, 2}, words
    steering = {char for char in result.output if not char.isprintable() and char != "\n"}
    assert not steering, (words, steering)
    return result


@pytest.fixture
def stored(kokugen: CommandLine) -> Iterator[Scheduler]:
    """A store with texts that steer a terminal wherever one can be: in states, nodes, schedules, errors, progress."""
    scheduler = Scheduler(kokugen.url)
    store: Any = scheduler.repository
    now = SystemClock().wall_us()
    waiting = replace(task_of(STEERING), id="waiting", unique_key=None, due_at=now, scheduled_time=now)
    store.add([waiting, replace(waiting, id="held"), replace(waiting, id="failed"), replace(waiting, id="running")])
    store.revise("held", Revision(hold=STEERING)).result()
    request = ClaimRequest(node_id=STEERING, nonce="n", slots=9, queues=(STEERING,))
    assert {task.id for task in store.claim(request).result().tasks} == {"waiting", "failed", "running"}
    end: dict[str, Any] = {"claim": "n", "reason": STEERING, "error": STEERING}
    store.finish([Finish(id="failed", state=TaskState.FAILED, outcome="failed", **end)]).result()
    store.finish([Finish(id="waiting", state=TaskState.INITIALIZED, outcome="retry", **end)]).result()
    told = msgspec.json.encode((1, 0.5, STEERING, now)).decode()
    store.report([Report("running", "n", told)]).result()
    store.register(replace(node_of(STEERING), seen_at=now)).result()
    param = TaskParam(work_id="w", scheduled_time=from_us(now), param=[STEERING])
    scheduler.put_schedule(timedelta(hours=1), param, ScheduleOptions(name="hourly"))
    scheduler.pause("hourly", note=STEERING)
    yield scheduler
    scheduler.close()


def test_no_command_that_reads_prints_what_steers_a_terminal(kokugen: CommandLine, stored: Scheduler) -> None:
    for words in READING:
        assert run(kokugen, *words).exit_code in {0, 1}, words
    for words in ONE_TASK:
        for task_id in ("waiting", "held", "failed", "running"):
            assert run(kokugen, words[0], task_id, *words[1:]).exit_code == 0, words
    for name in ("ledger", "why"):
        assert run(kokugen, name, "hourly").exit_code == 0
    for words in (("list",), ("show", "failed"), ("nodes", "--all"), ("schedules",)):
        assert "\\x1b[2J" in run(kokugen, *words).output, "it is shown, as an escape"


def test_json_tells_the_text_as_it_is_stored(kokugen: CommandLine, stored: Scheduler) -> None:
    told = {task["id"]: task for task in json.loads(run(kokugen, "list", "--json").stdout)}
    assert told["waiting"]["work_id"] == STEERING
    assert told["held"]["hold"] == STEERING
    assert told["failed"]["error"] == STEERING


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_word_that_is_typed_comes_back_as_what_steers_a_terminal(
    kokugen: CommandLine, stored: Scheduler, text: str
) -> None:
    for words in TYPED:
        result = run(kokugen, *(word.replace("{}", text) for word in words))
        if result.exit_code == 2 and "Usage" not in result.stderr:
            assert result.stderr.count("\n") == 1, (words, result.stderr)
    assert stored.get("waiting").id == "waiting"
    assert stored.schedule_of("hourly").name == "hourly"
