"""Cases of `finish`: every outcome is recorded once, under the claim of its run, and under no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kokugen.clock import from_us
from kokugen.errors import InvalidEntryError
from kokugen.repository.rows import AddResult, CancelResult, Finish, Finished
from kokugen.task import TaskState
from kokugen.testing.suite.lab import (
    ENDED,
    NOBODY,
    OUTCOMES,
    SECOND_US,
    STALE,
    STATES,
    Lab,
    ask,
    assert_changed,
)

FOLLOWING = tuple(OUTCOMES)


def _reclaimed(lab: Lab, _task_id: str) -> None:
    lab.recover(*lab.watch())
    lab.claim()


def _forced(lab: Lab, task_id: str) -> None:
    (answer,) = lab.cancel(task_id, force=True)
    assert answer.result == CancelResult.CANCELLED


def _marked(lab: Lab, task_id: str) -> None:
    assert ask(lab.repo.mark_as_done(task_id))


def _given_back(lab: Lab, task_id: str) -> None:
    assert ask(lab.repo.update_state(task_id, TaskState.WORKING, TaskState.INITIALIZED))


TAKEOVERS: dict[str, Callable[[Lab, str], object]] = {
    "recovered": lambda lab, _: lab.recover(*lab.watch()),
    "reclaimed": _reclaimed,
    "forced": _forced,
    "marked": _marked,
    "given_back": _given_back,
}


class FinishingCases:
    """T3, T4, T5, T9, T10."""

    @pytest.mark.parametrize("state", ENDED, ids=lambda state: state.label)
    def test_an_outcome_ends_the_task_and_is_kept(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        before = lab.info(task_id)
        lab.pass_time()
        told = {"started_at": lab.now - 5, "reason": "why", "error": "Oops", "result": '{"a":1}'}
        assert lab.finish(task_id, claim, state, **told) == Finished.APPLIED
        expected = {**told, "started_at": from_us(lab.now - 5), "owner": None}
        now = from_us(lab.now)
        after = lab.info(task_id)
        assert_changed(before, after, state=state, finished_at=now, last_modified=now, **expected)

    def test_a_retry_makes_the_task_wait_until_its_new_due_time(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        before = lab.info(task_id)
        told = {"due_at": lab.now + SECOND_US, "reason": "raised", "error": "Oops"}
        assert lab.finish(task_id, claim, TaskState.INITIALIZED, **told) == Finished.APPLIED
        expected = {**told, "due_at": from_us(lab.now + SECOND_US), "state": TaskState.INITIALIZED, "owner": None}
        after = lab.info(task_id)
        assert_changed(before, after, **expected, claimed_at=after.claimed_at)
        assert lab.claimed() == []
        lab.pass_time()
        assert lab.claimed() == [task_id]

    def test_a_waiting_state_without_a_due_time_keeps_the_old_one(self, lab: Lab) -> None:
        task_id = lab.add(due_at=lab.now - 3)
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED)
        assert lab.info(task_id).due_at == from_us(lab.now - 3)
        assert lab.claimed() == [task_id]

    @pytest.mark.parametrize("outcome", ["snooze", "released"])
    def test_an_attempt_that_does_not_count_is_given_back(self, lab: Lab, outcome: str) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.finish(task_id, claim, TaskState.INITIALIZED, outcome=outcome, attempt_back=1)
        info = lab.info(task_id)
        assert (info.attempt, info.fence) == (0, 1)
        (run,) = lab.claim().tasks
        assert (run.attempt, run.fence) == (1, 2)

    @pytest.mark.parametrize("started", [True, False])
    def test_the_history_tells_of_a_release_only_where_the_run_had_started(self, lab: Lab, started: bool) -> None:
        task_id = lab.add()
        told = {"outcome": "released", "attempt_back": 1, "started_at": lab.now if started else None}
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED, **told)
        assert [attempt.outcome for attempt in lab.attempts(task_id)] == ["released"] * started

    def test_nothing_of_the_waiting_applies_where_a_cancel_was_requested(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + 9)
        claim = lab.start(task_id)
        lab.cancel(task_id, reason="not needed")
        before = lab.info(task_id)
        told = {"due_at": lab.now + SECOND_US, "attempt_back": 1, "hold": "undecodable", "reason": "raised"}
        lab.finish(task_id, claim, TaskState.INITIALIZED, **told)
        info = lab.info(task_id)
        assert (info.state, info.hold, info.reason) == (TaskState.CANCELLED, None, "not needed")
        assert (info.due_at, info.start_deadline, info.attempt) == (before.due_at, before.start_deadline, 1)

    def test_undecodable_work_is_held_with_its_reason_until_it_is_released(self, lab: Lab) -> None:
        task_id = lab.add()
        told = {"outcome": "undecodable", "hold": "undecodable", "reason": "no argument x", "attempt_back": 1}
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED, **told)
        info = lab.info(task_id)
        assert (info.state, info.hold, info.reason) == (TaskState.INITIALIZED, "undecodable", "no argument x")
        assert lab.claimed() == []
        lab.revise(task_id, release=True)
        assert lab.claimed() == [task_id]

    @pytest.mark.parametrize("state", FOLLOWING, ids=lambda state: state.label)
    def test_a_repeated_finish_is_found_written_and_changes_nothing(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.finish(task_id, claim, state, due_at=lab.now + 9 if state == TaskState.INITIALIZED else None)
        before = lab.whole(task_id)
        lab.pass_time()
        assert lab.finish(task_id, claim, state, due_at=lab.now + 99, error="again") == Finished.APPLIED
        assert lab.whole(task_id) == before

    def test_a_repeated_finish_leaves_no_result_behind_where_another_end_was_written(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.finish(task_id, claim, TaskState.INITIALIZED)
        assert ask(lab.repo.mark_as_done(task_id))
        assert lab.finish(task_id, claim, result='"' + "x" * 3000 + '"') == Finished.APPLIED
        assert lab.info(task_id).result is None

    def test_a_repeated_finish_is_found_written_although_the_next_run_is_under_way(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.finish(task_id, claim, TaskState.INITIALIZED)
        lab.start(task_id)
        before = lab.whole(task_id)
        assert lab.finish(task_id, claim, TaskState.INITIALIZED) == Finished.APPLIED
        assert lab.whole(task_id) == before

    @pytest.mark.parametrize("state", FOLLOWING, ids=lambda state: state.label)
    @pytest.mark.parametrize("takeover", TAKEOVERS)
    def test_the_outcome_of_a_run_that_was_taken_over_is_refused(
        self, lab: Lab, takeover: str, state: TaskState
    ) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        TAKEOVERS[takeover](lab, task_id)
        before = lab.whole(task_id)
        lab.pass_time()
        assert lab.finish(task_id, claim, state, result="1", due_at=lab.now + 9) == Finished.FENCED
        assert lab.whole(task_id) == before

    @pytest.mark.parametrize("state", STATES, ids=lambda state: state.label)
    def test_a_claim_that_was_never_made_finishes_nothing(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        assert lab.finish(task_id, STALE) == Finished.FENCED
        assert lab.whole(task_id) == before

    def test_the_claim_of_one_task_does_not_finish_another(self, lab: Lab) -> None:
        first, second = lab.in_state(TaskState.WORKING), lab.add()
        claim = lab.start(second)
        before = lab.whole(first)
        assert lab.finish(first, claim) == Finished.FENCED
        assert lab.whole(first) == before

    def test_a_task_that_is_not_there_is_fenced(self, lab: Lab) -> None:
        assert lab.finish(NOBODY, STALE) == Finished.FENCED

    def test_a_refused_row_does_not_keep_its_batch_from_being_written(self, lab: Lab) -> None:
        ids = [lab.add() for _ in range(6)]
        claim = lab.claim().claim
        claims = [claim, STALE, claim, claim, STALE, claim]
        rows = [_done(task_id, own) for task_id, own in zip(ids, claims, strict=True)]
        answers = ask(lab.repo.finish([*rows, _done(NOBODY, claim)]))
        applied = [Finished.APPLIED if own == claim else Finished.FENCED for own in claims]
        assert answers == [*applied, Finished.FENCED]
        states = [info.state for info in ask(lab.repo.get(ids))]
        assert states == [TaskState.DONE if own == claim else TaskState.WORKING for own in claims]

    def test_a_large_batch_of_every_outcome_is_written_whole(self, lab: Lab) -> None:
        batch = [lab.new() for _ in range(1200)]
        lab.add_all(*batch)
        ids = [task.id for task in batch]
        claim = lab.claim(slots=1200).claim
        states = [FOLLOWING[number % 4] for number in range(1200)]
        rows = [Finish(id=i, claim=claim, state=s, outcome=OUTCOMES[s]) for i, s in zip(ids, states, strict=True)]
        assert set(ask(lab.repo.finish(rows))) == {Finished.APPLIED}
        assert [info.state for info in lab.infos()] == states

    def test_nothing_to_finish_is_answered_with_nothing(self, lab: Lab) -> None:
        assert ask(lab.repo.finish([])) == []

    def test_a_run_cannot_end_as_working(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        before = lab.whole(task_id)
        with pytest.raises(InvalidEntryError):
            lab.finish(task_id, claim, TaskState.WORKING, outcome="done")
        assert lab.whole(task_id) == before

    # -- Cancel requests

    def test_a_waiting_state_becomes_cancelled_where_that_was_requested(self, lab: Lab) -> None:
        task_id = lab.add(unique_key="u")
        claim = lab.start(task_id)
        lab.request_cancel(task_id, reason="not needed")
        due_at = lab.now + 5
        assert lab.finish(task_id, claim, TaskState.INITIALIZED, reason="raised", due_at=due_at) == Finished.APPLIED
        info = lab.info(task_id)
        assert (info.state, info.reason, info.owner) == (TaskState.CANCELLED, "not needed", None)
        assert info.finished_at == from_us(lab.now)
        assert lab.add_all(lab.new(unique_key="u"))[0].result == AddResult.ADDED

    def test_a_run_that_ended_before_it_heard_of_the_cancel_stays_done_and_flagged(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.request_cancel(task_id)
        lab.finish(task_id, claim, TaskState.DONE, result="1")
        info = lab.info(task_id)
        assert (info.state, info.result, info.cancel_requested) == (TaskState.DONE, "1", True)

    @pytest.mark.parametrize("told", [None, "heard it"])
    def test_a_cancelled_run_has_its_own_reason_or_that_of_the_request(self, lab: Lab, told: str | None) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.request_cancel(task_id, reason="not needed")
        lab.finish(task_id, claim, TaskState.CANCELLED, reason=told)
        assert lab.info(task_id).reason == (told or "not needed")

    # -- Bodies and history

    @pytest.mark.parametrize("size", [0, 1000, 1024, 1025, 60_000])
    def test_a_result_of_any_size_comes_back_whole(self, lab: Lab, size: int) -> None:
        result = '"é' + "x" * size + '"'
        task_id = lab.add()
        lab.finish(task_id, lab.start(task_id), result=result)
        assert lab.info(task_id).result == result

    def test_an_error_in_any_script_comes_back_as_it_was(self, lab: Lab) -> None:
        error = "Traceback …\n  File 'ü.py'\nValueError: 日本語 🎉 '; --"
        task_id = lab.add()
        lab.finish(task_id, lab.start(task_id), TaskState.FAILED, error=error)
        assert lab.info(task_id).error == error

    def test_a_later_outcome_takes_the_place_of_the_earlier_one(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED, error="Oops", reason="raised")
        lab.finish(task_id, lab.start(task_id), TaskState.DONE, result="1")
        info = lab.info(task_id)
        assert (info.error, info.reason, info.result) == (None, None, "1")


def _done(task_id: str, claim: str) -> Finish:
    return Finish(id=task_id, claim=claim, state=TaskState.DONE, outcome="done")
