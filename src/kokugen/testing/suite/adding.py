"""Cases of `add`: what is asked for is what is stored, once, and each task stands alone."""

from __future__ import annotations

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import Added, AddResult, NewTask
from kokugen.task import Mode, Params, Priority, TaskInfo, TaskState
from kokugen.testing.suite.lab import ENDED, SECOND_US, STATES, Lab, ask, params

TEXTS = (
    "",
    "Grüße",
    "日本語",
    "🎉👩‍👩‍👧",
    "a\u0000b",
    "\u2028\u2029",
    'it\'s "so"',
    "\\n\t",
    "%s ? :x $1 {}",
    "'; DROP TABLE kg_task; --",
)
SIZES = (1, 1000, 1024, 1025, 5000, 200_000)
INSTANTS = (0, 1, -1, 1_767_225_600_123_456, 253_402_300_799_999_999)


class AddingCases:
    """T1."""

    def test_an_added_task_is_stored_as_it_was_asked_for(self, lab: Lab) -> None:
        asked = lab.new(
            work_id="mail.send",
            due_at=lab.now + 5,
            scheduled_time=lab.now + 3,
            param=params("Ann", text="Tea!"),
            queue="mail",
            rank=-Priority.HIGH,
            mode=Mode.AT_MOST_ONCE,
            max_lost=7,
            start_deadline=lab.now + 9,
            unique_key="ann",
            tags='["a","b"]',
            options='{"timeout_us":5}',
            zone="Europe/Berlin",
            local_time="2026-01-01T01:00:00",
        )
        lab.add_all(asked)
        info = lab.info(asked.id)
        assert info == TaskInfo(
            id=asked.id,
            work_id="mail.send",
            due_at=from_us(lab.now + 5),
            scheduled_time=from_us(lab.now + 3),
            param=Params(("Ann",), {"text": "Tea!"}),
            state=TaskState.INITIALIZED,
            namespace="default",
            queue="mail",
            priority=Priority.HIGH,
            mode=Mode.AT_MOST_ONCE,
            max_lost=7,
            start_deadline=from_us(lab.now + 9),
            unique="ann",
            tags=("a", "b"),
            zone="Europe/Berlin",
            local_time="2026-01-01T01:00:00",
            created_at=from_us(lab.now),
            last_modified=from_us(lab.now),
            rev=info.rev,
        )

    def test_a_task_asked_for_with_the_least_has_the_defaults(self, lab: Lab) -> None:
        task = NewTask(id=lab.new().id, work_id="w", due_at=lab.now, scheduled_time=lab.now)
        lab.add_all(task)
        info = lab.info(task.id)
        now = from_us(lab.now)
        assert info == TaskInfo(
            id=task.id,
            work_id="w",
            scheduled_time=now,
            due_at=now,
            param=Params(),
            created_at=now,
            last_modified=now,
            rev=info.rev,
        )

    @pytest.mark.parametrize("text", TEXTS)
    def test_any_text_comes_back_as_it_was_given(self, lab: Lab, text: str) -> None:
        task_id = lab.add(param=params(text, k=[text]))
        assert lab.info(task_id).param == Params((text,), {"k": [text]})

    @pytest.mark.parametrize("size", SIZES)
    def test_a_body_of_any_size_comes_back_whole_and_to_the_run(self, lab: Lab, size: int) -> None:
        body = params("é" + "x" * size)
        task_id = lab.add(param=body)
        assert lab.info(task_id).param == Params(("é" + "x" * size,))
        assert [task.param for task in lab.claim().tasks] == [body]

    @pytest.mark.parametrize("due_at", INSTANTS)
    def test_an_instant_is_kept_to_the_microsecond(self, lab: Lab, due_at: int) -> None:
        task_id = lab.add(due_at=due_at)
        assert (lab.info(task_id).due_at, lab.info(task_id).scheduled_time) == (from_us(due_at), from_us(due_at))

    def test_a_param_that_cannot_be_read_is_stored_and_shown_as_it_is(self, lab: Lab) -> None:
        task_id = lab.add(param='{"bogus": 1}')
        assert lab.info(task_id).param == '{"bogus": 1}'

    def test_each_task_has_its_own_answer_in_the_order_asked(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(7)]
        shuffled = [tasks[i] for i in (3, 0, 6, 1, 5, 2, 4)]
        assert lab.add_all(*shuffled) == [Added(task.id, AddResult.ADDED) for task in shuffled]

    def test_nothing_to_add_is_answered_with_nothing(self, lab: Lab) -> None:
        assert lab.add_all() == []

    def test_a_large_batch_is_added_whole(self, lab: Lab) -> None:
        tasks = [lab.new(due_at=lab.now + number) for number in range(2500)]
        answers = lab.add_all(*tasks)
        assert {answer.result for answer in answers} == {AddResult.ADDED}
        assert [info.id for info in lab.infos()] == [task.id for task in tasks]

    def test_adding_an_id_again_changes_nothing(self, lab: Lab) -> None:
        task_id = lab.add(param=params(1))
        before = lab.whole(task_id)
        lab.pass_time()
        again = lab.new(id=task_id, work_id="other", param=params(2), unique_key="u")
        assert lab.add_all(again) == [Added(task_id, AddResult.EXISTED)]
        assert lab.whole(task_id) == before

    def test_an_id_twice_in_one_batch_is_one_task(self, lab: Lab) -> None:
        first = lab.new(param=params(1))
        second = lab.new(id=first.id, param=params(2))
        assert [answer.result for answer in lab.add_all(first, second)] == [AddResult.ADDED, AddResult.EXISTED]
        assert lab.info(first.id).param == Params((1,))

    @pytest.mark.parametrize("state", STATES, ids=lambda state: state.label)
    def test_an_id_exists_in_every_state(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        assert lab.add_all(lab.new(id=task_id)) == [Added(task_id, AddResult.EXISTED)]
        assert lab.whole(task_id) == before

    def test_a_taken_unique_key_names_its_holder_and_adds_nothing(self, lab: Lab) -> None:
        holder = lab.add(unique_key="u")
        before = lab.whole(holder)
        refused = lab.new(unique_key="u")
        assert lab.add_all(refused) == [Added(holder, AddResult.DUPLICATE)]
        assert lab.whole(holder) == before
        assert ask(lab.repo.get([refused.id])) == []

    @pytest.mark.parametrize("state", [TaskState.INITIALIZED, TaskState.WORKING], ids=lambda state: state.label)
    def test_a_live_task_keeps_its_unique_key(self, lab: Lab, state: TaskState) -> None:
        holder = lab.in_state(state, unique_key="u")
        assert lab.add_all(lab.new(unique_key="u")) == [Added(holder, AddResult.DUPLICATE)]

    @pytest.mark.parametrize("state", ENDED, ids=lambda state: state.label)
    def test_an_ended_task_gives_its_unique_key_free(self, lab: Lab, state: TaskState) -> None:
        lab.in_state(state, unique_key="u")
        assert lab.add_all(lab.new(unique_key="u"))[0].result == AddResult.ADDED

    def test_a_task_that_waits_for_its_next_attempt_keeps_its_unique_key(self, lab: Lab) -> None:
        task_id = lab.add(unique_key="u")
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED)
        assert lab.add_all(lab.new(unique_key="u")) == [Added(task_id, AddResult.DUPLICATE)]

    def test_a_duplicate_does_not_keep_its_batch_from_being_added(self, lab: Lab) -> None:
        lab.add(unique_key="u")
        batch = [lab.new(), lab.new(unique_key="u"), lab.new(unique_key="v"), lab.new()]
        results = [answer.result for answer in lab.add_all(*batch)]
        assert results == [AddResult.ADDED, AddResult.DUPLICATE, AddResult.ADDED, AddResult.ADDED]
        found = ask(lab.repo.get([task.id for task in batch]))
        assert [info.id for info in found] == [batch[0].id, batch[2].id, batch[3].id]

    def test_the_first_of_two_with_one_unique_key_in_a_batch_wins(self, lab: Lab) -> None:
        first, second = lab.new(unique_key="u"), lab.new(unique_key="u")
        answers = lab.add_all(first, second)
        assert answers == [Added(first.id, AddResult.ADDED), Added(first.id, AddResult.DUPLICATE)]

    def test_a_repeated_task_with_a_unique_key_existed_and_is_no_duplicate(self, lab: Lab) -> None:
        task = lab.new(unique_key="u")
        lab.add_all(task)
        assert lab.add_all(task) == [Added(task.id, AddResult.EXISTED)]

    def test_a_task_keeps_the_time_it_was_added(self, lab: Lab) -> None:
        task_id = lab.add()
        created = from_us(lab.now)
        lab.pass_time(5)
        lab.revise(task_id, due_at=lab.now + SECOND_US)
        assert lab.info(task_id).created_at == created
