from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from kokugen.task_storage.task_map import TaskMap


def test_the_first_that_stores_wins() -> None:
    tasks: TaskMap[str] = TaskMap()
    assert tasks.load_or_store("a", "one") == ("one", False)
    assert tasks.load_or_store("a", "two") == ("one", True)
    assert (tasks.load("a"), tasks.load("b")) == ("one", None)
    assert (tasks.has("a"), "a" in tasks, "b" in tasks, tasks.len(), len(tasks)) == (True, True, False, 1, 1)


def test_an_id_is_taken_out_once() -> None:
    tasks: TaskMap[str] = TaskMap()
    tasks.load_or_store("a", "one")
    tasks.load_or_store("b", "two")
    assert tasks.all_ids() == ["a", "b"]
    assert (tasks.load_and_delete("a"), tasks.load_and_delete("a")) == (("one", True), (None, False))
    assert (tasks.delete("b"), tasks.delete("b")) == (True, False)


def test_a_clone_goes_its_own_way() -> None:
    tasks: TaskMap[str] = TaskMap()
    tasks.load_or_store("a", "one")
    copy = tasks.clone()
    tasks.delete("a")
    assert (copy.all_ids(), tasks.all_ids()) == (["a"], [])


def test_of_many_that_store_one_does() -> None:
    tasks: TaskMap[int] = TaskMap()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: tasks.load_or_store("a", number), range(500)))
    assert [loaded for _, loaded in answers].count(False) == 1
    assert len({actual for actual, _ in answers}) == 1
