from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from kokugen.task import TaskState, TaskStateSet
from kokugen.task_storage.state_store import SyncStateStore


def test_what_was_put_is_there_until_it_is_removed() -> None:
    store = SyncStateStore()
    store.put("a", TaskState.DONE)
    store.put("b", TaskState.FAILED)
    store.put("a", TaskState.CANCELLED)
    assert store.get_all() == [TaskStateSet("a", TaskState.CANCELLED), TaskStateSet("b", TaskState.FAILED)]
    assert (store.len(), len(store), store.has("a"), "b" in store) == (2, 2, True, True)
    assert (store.remove("a"), store.remove("a")) == (True, False)
    assert (store.has("a"), "a" in store, len(store)) == (False, False, 1)


def test_a_clone_goes_its_own_way() -> None:
    store = SyncStateStore()
    store.put("a", TaskState.DONE)
    copy = store.clone()
    store.remove("a")
    copy.put("b", TaskState.DONE)
    assert (len(store), [one.key for one in copy.get_all()]) == (0, ["a", "b"])


def test_of_many_that_remove_a_key_one_does() -> None:
    store = SyncStateStore()
    keys = [str(number) for number in range(500)]
    for key in keys:
        store.put(key, TaskState.DONE)
    with ThreadPoolExecutor(4) as pool:
        removed = list(pool.map(store.remove, keys * 4))
    assert (removed.count(True), len(store)) == (500, 0)
