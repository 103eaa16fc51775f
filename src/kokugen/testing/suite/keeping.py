"""Cases of `beat`, `watch`, `recover` and `retire`: a run belongs to its owner until it is seen to stand still."""

from __future__ import annotations

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import Finished, Lease, Observed, Report
from kokugen.task import Attempt, Mode, NodeInfo, Progress, TaskState, replace, stored_progress
from kokugen.testing.suite.lab import NOBODY, NODE, OTHER_NODE, STALE, STATES, Lab, ask, assert_changed


class KeepingCases:
    """T6, T7, T9, T13."""

    # -- Beat and watch

    def test_a_watcher_sees_the_runs_of_the_others(self, lab: Lab) -> None:
        first, second = lab.add(), lab.add()
        claim = lab.claim(ttl_s=6.0).claim
        assert lab.watch() == [
            Observed(first, claim, 0, 6.0, NODE),
            Observed(second, claim, 0, 6.0, NODE),
        ]

    # -- Progress

    def test_what_a_run_says_of_its_progress_is_kept_and_changes_nothing_else(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        before = lab.info(task_id)
        for fraction, text in ((0.25, None), (None, "é"), (1.0, "x" * 500)):
            said = stored_progress(before.fence, fraction, text, lab.now)
            ask(lab.repo.report([Report(task_id, claim, said)]))
            assert lab.info(task_id) == replace(before, progress=Progress(fraction, text, from_us(lab.now)))
        lab.finish(task_id, claim)
        assert lab.info(task_id).progress == Progress(1.0, "x" * 500, from_us(lab.now))

    def test_what_a_run_says_that_is_not_the_tasks_any_more_is_not_kept(self, lab: Lab) -> None:
        task_id = lab.add()
        old = lab.start(task_id)
        lab.recover(*lab.watch())
        lab.start(task_id)
        before = lab.whole(task_id)
        ask(lab.repo.report([Report(task_id, old, stored_progress(1, 0.5, None, lab.now))]))
        ask(lab.repo.report([Report(NOBODY, STALE, stored_progress(1, 0.5, None, lab.now))]))
        ask(lab.repo.report([]))
        assert lab.whole(task_id) == before

    def test_the_next_run_begins_without_progress(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        ask(lab.repo.report([Report(task_id, claim, stored_progress(1, 0.5, None, lab.now))]))
        lab.finish(task_id, claim, TaskState.INITIALIZED)
        assert lab.info(task_id).progress is not None
        lab.start(task_id)
        assert lab.info(task_id).progress is None

    def test_a_watcher_does_not_see_its_own_runs(self, lab: Lab) -> None:
        lab.add()
        lab.claim()
        assert lab.watch(NODE) == []

    @pytest.mark.parametrize("state", [s for s in STATES if s != TaskState.WORKING], ids=lambda state: state.label)
    def test_a_watcher_sees_no_task_that_is_not_working(self, lab: Lab, state: TaskState) -> None:
        lab.in_state(state)
        assert lab.watch() == []

    def test_a_watcher_sees_no_run_that_was_claimed_by_id(self, lab: Lab) -> None:
        task_id = lab.add()
        ask(lab.repo.update_state(task_id, TaskState.INITIALIZED, TaskState.WORKING))
        assert lab.watch() == []

    def test_a_beat_is_seen_by_watchers_and_changes_nothing_else(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        before = lab.whole(task_id)
        lab.pass_time()
        assert lab.beat((task_id, claim)) == [(task_id, False)]
        assert lab.beat((task_id, claim)) == [(task_id, False)]
        assert [seen.beat for seen in lab.watch()] == [2]
        assert lab.whole(task_id) == before

    def test_a_last_beat_says_how_long_watchers_are_to_wait_for_another_one(self, lab: Lab) -> None:
        parting, staying = lab.add(), lab.add()
        claim = lab.claim(ttl_s=30.0).claim
        (beaten,) = ask(lab.repo.beat([Lease(parting, claim)], ttl_s=2.0))
        assert (beaten.id, beaten.claim) == (parting, claim)
        assert [(seen.id, seen.beat, seen.ttl_s) for seen in lab.watch()] == [(parting, 1, 2.0), (staying, 0, 30.0)]
        lab.beat((parting, claim))
        assert [(seen.beat, seen.ttl_s) for seen in lab.watch()] == [(2, 2.0), (0, 30.0)]

    def test_a_beat_tells_of_a_cancel_request_and_keeps_it(self, lab: Lab) -> None:
        asked, other = lab.add(), lab.add()
        claim = lab.claim().claim
        lab.request_cancel(asked)
        for _ in range(2):
            assert sorted(lab.beat((asked, claim), (other, claim))) == [(asked, True), (other, False)]
        assert lab.info(asked).cancel_requested

    def test_a_beat_leaves_out_the_leases_that_are_lost(self, lab: Lab) -> None:
        ids = [lab.add() for _ in range(4)]
        claim = lab.claim().claim
        lab.finish(ids[0], claim)
        lab.cancel(ids[1], force=True)
        leases = [*((task_id, claim) for task_id in ids[:3]), (ids[3], STALE), (NOBODY, claim)]
        assert lab.beat(*leases) == [(ids[2], False)]
        assert [(seen.id, seen.beat) for seen in lab.watch()] == [(ids[2], 1), (ids[3], 0)]

    def test_a_new_claim_begins_with_beat_zero(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.beat((task_id, claim))
        lab.finish(task_id, claim, TaskState.INITIALIZED)
        lab.start(task_id)
        assert [seen.beat for seen in lab.watch()] == [0]

    # -- Recover

    def test_a_lost_run_waits_again_and_its_attempt_does_not_count(self, lab: Lab) -> None:
        task_id = lab.add(unique_key="u")
        lab.start(task_id)
        before = lab.info(task_id)
        lab.pass_time()
        assert lab.recover(*lab.watch()) == [(task_id, TaskState.INITIALIZED)]
        expected = {"state": TaskState.INITIALIZED, "owner": None, "attempt": 0, "lost": 1, "reason": "lost"}
        after = lab.info(task_id)
        assert_changed(before, after, **expected, last_modified=from_us(lab.now), claimed_at=after.claimed_at)

    def test_a_recovered_task_is_claimed_anew_with_the_next_fence(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.lose(task_id)
        (run,) = lab.claim().tasks
        assert (run.id, run.attempt, run.fence, run.lost) == (task_id, 1, 2, 1)

    def test_a_run_that_has_beaten_since_is_not_recovered(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        seen = lab.watch()
        lab.beat((task_id, claim))
        before = lab.whole(task_id)
        assert lab.recover(*seen) == []
        assert lab.whole(task_id) == before
        assert lab.finish(task_id, claim) == Finished.APPLIED

    @pytest.mark.parametrize("change", [{"claim": STALE}, {"beat": 1}, {"beat": -1}, {"id": NOBODY}], ids=str)
    def test_a_run_that_is_not_quite_as_observed_is_not_recovered(self, lab: Lab, change: dict[str, object]) -> None:
        task_id = lab.add()
        lab.start(task_id)
        before = lab.whole(task_id)
        assert lab.recover(*(replace(seen, **change) for seen in lab.watch())) == []
        assert lab.whole(task_id) == before

    @pytest.mark.parametrize("state", [s for s in STATES if s != TaskState.WORKING], ids=lambda state: state.label)
    def test_a_run_that_ended_since_is_not_recovered(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        seen = lab.watch()
        lab.finish(task_id, claim, state)
        before = lab.whole(task_id)
        assert lab.recover(*seen) == []
        assert lab.whole(task_id) == before

    def test_a_task_that_was_claimed_anew_is_not_recovered_for_its_old_run(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        seen = lab.watch()
        lab.finish(task_id, claim, TaskState.INITIALIZED)
        lab.start(task_id)
        before = lab.whole(task_id)
        assert lab.recover(*seen) == []
        assert lab.whole(task_id) == before

    def test_a_run_is_recovered_once(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.start(task_id)
        seen = lab.watch()
        assert lab.recover(*seen) == [(task_id, TaskState.INITIALIZED)]
        before = lab.whole(task_id)
        assert lab.recover(*seen) == []
        assert lab.whole(task_id) == before

    def test_a_stale_observation_does_not_keep_its_batch_from_being_recovered(self, lab: Lab) -> None:
        ids = [lab.add() for _ in range(6)]
        claim = lab.claim().claim
        seen = lab.watch()
        lab.beat((ids[1], claim), (ids[4], claim))
        recovered = sorted(task_id for task_id, _ in lab.recover(*seen))
        assert recovered == [ids[0], ids[2], ids[3], ids[5]]

    def test_a_lost_run_that_may_run_at_most_once_has_failed(self, lab: Lab) -> None:
        task_id = lab.add(mode=Mode.AT_MOST_ONCE, unique_key="u")
        lab.start(task_id)
        before = lab.info(task_id)
        assert lab.recover(*lab.watch()) == [(task_id, TaskState.FAILED)]
        expected = {"state": TaskState.FAILED, "reason": "lost", "lost": 1, "owner": None}
        assert_changed(before, lab.info(task_id), **expected, finished_at=from_us(lab.now))
        assert lab.claimed() == []
        assert lab.add_all(lab.new(unique_key="u"))[0].id != task_id

    @pytest.mark.parametrize("max_lost", [1, 2, 3])
    def test_a_task_that_is_lost_too_often_has_failed(self, lab: Lab, max_lost: int) -> None:
        task_id = lab.add(max_lost=max_lost)
        for _ in range(max_lost - 1):
            lab.lose(task_id)
            assert lab.info(task_id).state == TaskState.INITIALIZED
        lab.lose(task_id)
        info = lab.info(task_id)
        assert (info.state, info.reason, info.lost) == (TaskState.FAILED, "lost", max_lost)

    def test_a_crash_does_not_use_up_the_only_attempt(self, lab: Lab) -> None:
        task_id = lab.add(max_attempts=1, max_lost=9)
        for _ in range(4):
            lab.lose(task_id)
        info = lab.info(task_id)
        assert (info.state, info.attempt, info.lost) == (TaskState.INITIALIZED, 0, 4)

    def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.start(task_id)
        lab.request_cancel(task_id)
        assert lab.recover(*lab.watch()) == [(task_id, TaskState.CANCELLED)]
        info = lab.info(task_id)
        assert (info.state, info.owner, info.finished_at) == (TaskState.CANCELLED, None, from_us(lab.now))
        assert lab.claimed() == []

    def test_the_history_names_the_node_that_lost_the_run(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.start(task_id)
        lab.pass_time()
        lab.recover(*lab.watch())
        (lost,) = lab.attempts(task_id)
        claimed, now = from_us(lab.now - 1_000_000), from_us(lab.now)
        assert lost == Attempt(fence=1, attempt=1, outcome="lost", node=NODE, claimed_at=claimed, finished_at=now)

    # -- Retire

    def test_the_runs_of_a_retired_node_wait_again_at_once(self, lab: Lab) -> None:
        ask(lab.repo.register(node(NODE)))
        left, other = lab.add(), lab.add()
        lab.claim(slots=1)
        lab.claim(node_id=OTHER_NODE)
        ask(lab.repo.retire(NODE))
        assert lab.info(left).state == TaskState.INITIALIZED
        assert lab.info(left).lost == 1
        assert lab.info(other).owner == OTHER_NODE

    def test_an_unknown_node_is_retired_without_a_word(self, lab: Lab) -> None:
        ask(lab.repo.retire(NOBODY))
        assert ask(lab.repo.nodes()) == []


def node(node_id: str, label: str = "here") -> NodeInfo:
    """Return a node as a process describes itself."""
    return NodeInfo(
        node_id=node_id,
        label=label,
        host="host",
        boot_id="boot",
        pid=42,
        pid_namespace="4026531836",
        pid_started=7,
        version="1",
        tzdata="2026.1",
    )
