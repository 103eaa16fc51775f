"""What goes to the work and comes back from it: arguments, results, errors, and what the work says of its run's end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import pytest

from kokugen.clock import to_us
from kokugen.codec import encode_params
from kokugen.dispatcher.protocol import Ending
from kokugen.run import Cancel, RetryAfter, Snooze
from kokugen.task import Params
from kokugen.testing.dispatching import works
from kokugen.testing.dispatching.lab import DispatchLab

DUE = datetime(2026, 12, 24, 18, tzinfo=UTC)


class CrossingCases:
    """Work sees what was asked for, and what it does is told as it was."""

    is_async: ClassVar[bool]
    tells_progress: ClassVar[bool]

    @pytest.mark.parametrize("value", [None, True, -7, 2**53 + 1, 0.1, "刻限 \0 \N{CLOCK FACE ONE OCLOCK}"])
    def test_plain_values_come_back_as_they_went(self, lab: DispatchLab, value: Any) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.echo, value))
        assert outcome.ending is Ending.RETURNED
        assert outcome.result == (None if value is None else msgspec.json.encode(value).decode())

    def test_nested_and_large_values_come_back_as_they_went(self, lab: DispatchLab) -> None:
        value: dict[str, Any] = {
            "rows": [[number, str(number) * 5] for number in range(2_000)],
            "empty": {},
            "none": None,
        }
        (outcome,) = lab.sent(lab.started(), lab.run(works.echo, value))
        assert msgspec.json.decode(outcome.result or "") == value

    def test_typed_arguments_are_decoded_where_the_work_runs(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.later, DUE, timedelta(hours=3)))
        assert outcome.result == '"2026-12-24T21:00:00Z"'

    def test_work_sees_the_run_that_it_is_part_of(self, lab: DispatchLab) -> None:
        run = lab.run(works.tell, due_at=to_us(DUE), tags=("a", "b"))
        (outcome,) = lab.sent(lab.started(), run)
        told = msgspec.json.decode(outcome.result or "")
        assert isinstance(told.pop("pid"), int)
        assert told == {
            "id": run.task_id,
            "work": "tell",
            "attempt": 1,
            "fence": run.fence,
            "key": run.task_id,
            "tags": ["a", "b"],
            "due": DUE.isoformat(),
            "started": True,
            "async": self.is_async,
        }

    def test_what_work_says_of_its_progress_is_heard_by_the_node(self, lab: DispatchLab) -> None:
        if not self.tells_progress:
            pytest.skip("this dispatcher does not promise it")
        run, heard = lab.run(works.progress, 0.25, "a quarter \N{CLOCK FACE ONE OCLOCK}"), list[object]()
        run.reporter = lambda run: heard.append(run.said)
        (outcome,) = lab.sent(lab.started(), run)
        assert outcome.ending is Ending.RETURNED
        assert heard == [(0.25, "a quarter \N{CLOCK FACE ONE OCLOCK}")]

    def test_each_run_has_a_context_of_its_own(self, lab: DispatchLab) -> None:
        runs = [lab.run(works.tell) for _ in range(6)]
        told = [msgspec.json.decode(one.result or "")["id"] for one in lab.sent(lab.started(), *runs)]
        assert told == [run.task_id for run in runs]

    def test_an_error_is_told_with_its_class_and_its_arguments(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.fail, "value"))
        assert outcome.ending is Ending.RAISED
        assert type(outcome.error) is ValueError
        assert outcome.error.args == ("no such colour", 7)
        assert (outcome.text or "").endswith("ValueError: ('no such colour', 7)")

    @pytest.mark.parametrize(
        ("how", "kind"), [("key", KeyError), ("exit", SystemExit), ("interrupt", KeyboardInterrupt)]
    )
    def test_whatever_work_raises_costs_no_worker(self, lab: DispatchLab, how: str, kind: type[BaseException]) -> None:
        failed, again, fine = lab.sent(
            lab.started(workers=1), lab.run(works.fail, how), lab.run(works.fail, how), lab.run(works.nothing)
        )
        assert [failed.ending, again.ending, fine.ending] == [Ending.RAISED, Ending.RAISED, Ending.RETURNED]
        assert type(failed.error) is kind

    @pytest.mark.parametrize("how", ["group", "unreadable"])
    def test_an_error_that_cannot_be_sent_as_it_is_is_told_all_the_same(self, lab: DispatchLab, how: str) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.fail, how))
        assert outcome.ending is Ending.RAISED
        assert isinstance(outcome.error, Exception)
        assert {"group": "ValueError: one", "unreadable": "Unreadable"}[how] in (outcome.text or "")

    def test_work_can_ask_to_be_tried_again_later(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.fail, "retry after"))
        assert (outcome.ending, outcome.delay_us, outcome.text) == (Ending.RETRY_AFTER, 5_000_000, "busy")
        assert isinstance(outcome.error, RetryAfter)

    def test_work_can_snooze(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.fail, "snooze"))
        assert (outcome.ending, outcome.delay_us, outcome.text) == (Ending.SNOOZED, 3_600_000_000, "not yet")
        assert isinstance(outcome.error, Snooze)

    def test_work_can_cancel_its_task(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.fail, "cancel"))
        assert (outcome.ending, outcome.text) == (Ending.CANCELLED, "no need")
        assert isinstance(outcome.error, Cancel)

    def test_arguments_that_cannot_be_read_are_told_and_the_work_is_not_called(self, lab: DispatchLab) -> None:
        param = encode_params(Params(("no time", 3), {}))
        (outcome,) = lab.sent(lab.started(), lab.run(works.later, param=param))
        assert outcome.ending is Ending.UNDECODABLE
        assert "$.args[0]" in (outcome.text or "")

    def test_a_result_that_cannot_be_written_is_a_failure_of_the_work(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.not_plain))
        assert outcome.ending is Ending.RAISED
        assert "CodecError" in (outcome.text or "")

    def test_a_run_that_cannot_take_part_in_a_transaction_says_so(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.complete))
        assert outcome.ending is Ending.RAISED
        assert "TransactionError" in (outcome.text or "")
