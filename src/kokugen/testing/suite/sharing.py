"""Cases of who shares a store: listeners, event loops, namespaces, instances, and the same file opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event

import pytest

from kokugen.repository.protocol import ENDED
from kokugen.repository.rows import AddResult, CancelResult, Finished
from kokugen.task import TaskInfo, TaskQuery, TaskState
from kokugen.testing.suite.keeping import node
from kokugen.testing.suite.lab import ANSWER_MAX_S, NODE, OTHER_NODE, SECOND_US, Lab, ask, params


def _retry(lab: Lab, due_at: int) -> None:
    task_id = lab.add(due_at=lab.now)
    lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED, due_at=due_at)


def _reschedule(lab: Lab, due_at: int) -> None:
    lab.revise(lab.add(due_at=due_at + 5), due_at=due_at)


def _revive(lab: Lab, due_at: int) -> None:
    ask(lab.repo.revive([lab.in_state(TaskState.DONE)], due_at=due_at))


ARRIVALS: dict[str, Callable[[Lab, int], object]] = {
    "added": lambda lab, due_at: lab.add(due_at=due_at),
    "retried": _retry,
    "rescheduled": _reschedule,
    "revived": _revive,
}


class SharingCases:
    """I1 and I22, and the replies that threads and coroutines wait for."""

    # -- Hints

    @pytest.mark.parametrize("arrival", ARRIVALS)
    def test_a_listener_hears_of_tasks_that_come_to_wait(self, lab: Lab, arrival: str) -> None:
        due_at = lab.now + SECOND_US
        heard: list[int] = []
        came = Event()

        def hint(due_us: int) -> None:
            heard.append(due_us)
            if 0 <= due_us <= due_at:
                came.set()

        leave = lab.repo.listen(hint)
        ARRIVALS[arrival](lab, due_at)
        assert came.wait(ANSWER_MAX_S), f"heard of {heard} alone"
        leave()

    def test_a_listener_that_has_left_hears_nothing_more(self, lab: Lab) -> None:
        heard: list[int] = []
        leave = lab.repo.listen(heard.append)
        leave()
        leave()
        lab.add()
        assert heard == []

    def test_one_of_two_listeners_leaves_and_the_other_stays(self, lab: Lab) -> None:
        came = Event()
        gone: list[int] = []
        leave = lab.repo.listen(gone.append)
        stop = lab.repo.listen(lambda _: came.set())
        leave()
        lab.add()
        assert came.wait(ANSWER_MAX_S)
        assert gone == []
        stop()

    # -- Coroutines

    def test_a_coroutine_may_await_what_a_thread_may_wait_for(self, lab: Lab) -> None:
        task = lab.new(param=params(1))

        async def live() -> TaskState:
            await lab.repo.add([task])
            answer = await lab.repo.claim(lab.request())
            assert [run.id for run in answer.tasks] == [task.id]
            await lab.repo.update_state(task.id, TaskState.WORKING, TaskState.DONE)
            return (await lab.repo.get_by_id(task.id)).state

        assert asyncio.run(live()) == TaskState.DONE

    def test_many_coroutines_may_ask_at_once(self, lab: Lab) -> None:
        async def live() -> list[str]:
            infos = [TaskInfo(work_id="w", scheduled_time=lab.clock.now) for _ in range(100)]
            return list(await asyncio.gather(*map(lab.repo.insert, infos)))

        ids = asyncio.run(live())
        assert len(set(ids)) == 100
        assert sorted(info.id for info in lab.infos()) == sorted(ids)

    def test_a_refusal_is_raised_where_it_is_awaited(self, lab: Lab) -> None:
        async def live() -> None:
            reply = lab.repo.get_by_id("0" * 32)
            with pytest.raises(LookupError):
                await reply

        asyncio.run(live())

    @pytest.mark.parametrize("end", ["finished", "cancelled"])
    def test_a_listener_hears_of_tasks_that_end(self, lab: Lab, end: str) -> None:
        task_id = lab.add()
        claim = lab.start(task_id) if end == "finished" else None
        ended = Event()
        leave = lab.repo.listen(lambda due_us: ended.set() if due_us == ENDED else None)
        lab.repo.ask_for_ends()
        if claim is None:
            lab.cancel(task_id)
        else:
            lab.finish(task_id, claim)
        assert ended.wait(ANSWER_MAX_S)
        leave()

    # -- Opening and closing

    def test_opening_and_closing_again_changes_nothing(self, lab: Lab) -> None:
        task_id = lab.add()
        before = lab.whole(task_id)
        lab.repo.open()
        assert lab.whole(task_id) == before
        lab.repo.close()
        lab.repo.close()

    def test_a_store_opened_again_has_everything_as_it_was(self, kept: Lab) -> None:
        for state in TaskState:
            kept.in_state(state, param=params("x" * 2000), unique_key=state.label, tags='["t"]')
        task_id = kept.in_state(TaskState.WORKING)
        kept.lose(kept.add(work_id="lost"))
        ask(kept.repo.register(node(NODE)))
        before = [kept.whole(info.id) for info in kept.infos()], ask(kept.repo.nodes()), kept.watch()
        kept.repo.close()
        kept.repo = kept.open_store("default")
        assert ([kept.whole(info.id) for info in kept.infos()], ask(kept.repo.nodes()), kept.watch()) == before
        assert kept.info(task_id).owner == NODE

    def test_a_run_outlives_the_instance_that_claimed_it(self, kept: Lab) -> None:
        task_id = kept.add()
        claim = kept.start(task_id)
        kept.repo.close()
        kept.repo = kept.open_store("default")
        assert kept.beat((task_id, claim)) == [(task_id, False)]
        assert kept.finish(task_id, claim, result="1") == Finished.APPLIED
        assert kept.info(task_id).result == "1"

    def test_what_one_instance_writes_the_other_reads_at_once(self, kept: Lab) -> None:
        second = kept.open_store("default")
        task_id = kept.add(param=params("x" * 2000))
        assert ask(second.get([task_id])) == [kept.info(task_id)]
        (run,) = ask(second.claim(kept.request(node_id=OTHER_NODE))).tasks
        assert run.id == task_id
        assert (kept.info(task_id).owner, kept.claimed()) == (OTHER_NODE, [])

    def test_instances_refuse_each_others_duplicates(self, kept: Lab) -> None:
        second = kept.open_store("default")
        task = kept.new(unique_key="u")
        kept.add_all(task)
        results = [ask(second.add([other]))[0].result for other in (task, kept.new(unique_key="u"))]
        assert results == [AddResult.EXISTED, AddResult.DUPLICATE]

    # -- Namespaces

    def test_an_instance_knows_its_namespace(self, lab: Lab) -> None:
        assert (lab.repo.namespace, lab.open_store("other").namespace) == ("default", "other")

    def test_a_namespace_sees_nothing_of_another(self, lab: Lab) -> None:
        other = lab.open_store("other")
        waiting, running = lab.add(unique_key="u"), lab.in_state(TaskState.WORKING)
        seen = (
            ask(other.get([waiting, running])),
            ask(other.page(TaskQuery())),
            ask(other.count(TaskQuery())),
            ask(other.watch(OTHER_NODE)),
            ask(other.claim(lab.request())).tasks,
            ask(other.get_updated_since(lab.clock.now)),
            sum(ask(other.health()).counts.values()),
        )
        assert seen == ([], [], 0, [], [], [], 0)

    def test_a_namespace_changes_nothing_in_another(self, lab: Lab) -> None:
        task_id = lab.add(unique_key="u")
        claim = lab.start(task_id)
        over = lab.in_state(TaskState.DONE)
        before = lab.whole(task_id), lab.whole(over)
        seen = lab.watch()
        default, lab.repo = lab.repo, lab.open_store("other")
        assert [answer.result for answer in lab.cancel(task_id, force=True)] == [CancelResult.MISSING]
        assert lab.finish(task_id, claim) == Finished.FENCED
        assert (lab.beat((task_id, claim)), lab.recover(*seen), ask(lab.repo.revive([over]))) == ([], [], [])
        for call in (lab.repo.mark_as_done, lab.repo.get_by_id):
            with pytest.raises(LookupError):
                ask(call(task_id))
        lab.repo = default
        assert (lab.whole(task_id), lab.whole(over)) == before

    def test_one_id_and_one_unique_key_are_two_tasks_in_two_namespaces(self, lab: Lab) -> None:
        task = lab.new(unique_key="u", param=params(1))
        lab.add_all(task)
        other = lab.open_store("other")
        again = lab.new(id=task.id, unique_key="u", param=params(2))
        assert ask(other.add([again]))[0].result == AddResult.ADDED
        assert lab.info(task.id).param != ask(other.get([task.id]))[0].param
        assert ask(other.get([task.id]))[0].namespace == "other"
