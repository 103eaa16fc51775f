"""What is encrypted or signed cannot be changed, moved, replayed or forged by whoever can write the store."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from kokugen import AsyncScheduler, FunctionRegistry, Retry, Scheduler, TaskParam, TaskState, Then, current_run
from kokugen.dispatcher.processes import Processes
from kokugen.errors import CodecError, OptionError, SealError, TaskFailedError
from kokugen.middleware.base import Middleware
from kokugen.middleware.encrypt import EncryptMiddleware
from kokugen.middleware.keys import Keys
from kokugen.middleware.payloads import Binding, Payloads
from kokugen.middleware.sign import SignMiddleware
from kokugen.recurrence import Cron
from kokugen.task import OnDuplicateName
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from kokugen.testing import Stage, assert_scheduled
from tests.task_storage.seed_repository import SeedRepository

SOON = timedelta(0)
WITHIN = timedelta(seconds=30)
CANARY = "canary-7f3a"
OLD, NEW, OTHER = ({name: bytes([at] * 32)} for at, name in enumerate(("old", "new", "other"), start=1))
SEALS = {"encrypted": EncryptMiddleware, "signed": SignMiddleware}

Seal = Callable[..., Any]

works = FunctionRegistry()
called: list[Any] = []


@works.work
def pay(to: str, amount: int = 1) -> str:
    called.append((to, amount))
    return f"paid {to}"


@works.work
def refund(to: str, amount: int = 1) -> str:
    called.append(("refund", to, amount))
    return f"refunded {to}"


@works.work
async def notify(to: str) -> None:
    called.append(to)


@works.work(retry=Retry(2, initial=timedelta(0), retry_on=(ConnectionError,)))
def fail(secret: str) -> None:
    called.append(secret)
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ConnectionError(f"no luck with {secret}") from error


@pytest.fixture(params=SEALS, autouse=True)
def seal(request: pytest.FixtureRequest) -> Seal:
    called.clear()
    return SEALS[request.param]


def double(text: str) -> str:
    return text * 2


def raise_it(text: str) -> None:
    raise LookupError(text)


class Store:
    """A file, schedulers on it, and the hand of an attacker."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tasks.db"
        self.url = f"sqlite:///{self.path}"

    def schedule(self, guard: Middleware | None, work: Any, *args: Any, namespace: str = "default", **kw: Any) -> str:
        middleware = [] if guard is None else [guard]
        scheduler = Scheduler(self.url, works=works, middleware=middleware, namespace=namespace)
        try:
            return str(scheduler.after(SOON, work, *args, **kw).id)
        finally:
            scheduler.close()

    def run(self, guard: Middleware, *task_ids: str, namespace: str = "default") -> list[Any]:
        """Run what is due until these are over or held, and return what is known of each."""
        scheduler = Scheduler(self.url, works=works, middleware=[guard], namespace=namespace)
        with scheduler:
            return [until_settled(scheduler, task_id) for task_id in task_ids]

    def result(self, guard: Middleware, task_id: str) -> Any:
        scheduler = Scheduler(self.url, works=works, middleware=[guard])
        try:
            return scheduler.result(task_id, SOON)
        finally:
            scheduler.close()

    def connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(30_000)
        return connection

    def sql(self, text: str, *values: Any) -> list[Any]:
        connection = self.connect()
        try:
            return list(connection.execute(text, values))
        finally:
            connection.close()

    def column(self, name: str, task_id: str) -> Any:
        ((value,),) = self.sql(f"SELECT {name} FROM task WHERE id = ?", task_id)
        return value

    def write(self, task_id: str, **columns: Any) -> None:
        for name, value in columns.items():
            self.sql(f"UPDATE task SET {name} = ? WHERE id = ?", value, task_id)

    def bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.path.parent.glob("tasks.db*")))


def until_settled(scheduler: Scheduler, task_id: str) -> Any:
    from threading import Event

    for _ in range(3000):
        info = scheduler.get(task_id)
        if info.state.terminal or info.hold:
            return info
        Event().wait(0.005)
    raise AssertionError(f"task {task_id} does not settle")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def held(info: Any, words: str) -> None:
    assert (info.state, info.hold, info.attempt) == (TaskState.INITIALIZED, "undecodable", 0)
    assert words in info.reason
    assert called == []


MOVED = "was changed, or belongs to another task, work or namespace"

# -- It works


def test_arguments_and_results_come_back_however_they_were_scheduled(seal: Seal, store: Store) -> None:
    with Scheduler(store.url, works=works, middleware=[seal(OLD)]) as scheduler:
        tasks = [scheduler.after(SOON, pay, "Ann", amount=2), scheduler.after(SOON, pay.options(id="chosen"), "Bob")]
        when = tasks[0].scheduled_time
        tasks.append(scheduler.schedule(TaskParam(work_id="pay", scheduled_time=when, param=["Cleo"])))
        tasks += scheduler.schedule_many([TaskParam(work_id="pay", scheduled_time=when, param=["Dan"])])
        assert [task.result(WITHIN) for task in tasks] == [f"paid {one}" for one in ("Ann", "Bob", "Cleo", "Dan")]
        assert scheduler.after(SOON, notify, "Eve").result(WITHIN) is None
    assert len(called) == 5
    stored = [param for (param,) in store.sql("SELECT param FROM task")]
    assert all(("aes-gcm:old:" in param) is (seal is EncryptMiddleware) for param in stored)
    assert all(json.loads(param) for param in stored), "what is stored is JSON"


async def test_the_async_face_seals_as_well(seal: Seal) -> None:
    async with AsyncScheduler("memory://", works=works, middleware=[seal(OLD)]) as scheduler:
        task = await scheduler.after(SOON, pay, "Ann")
        assert await task.result(WITHIN) == "paid Ann"
        assert json.loads((await task.info()).result or "") != "paid Ann"


def test_a_task_of_a_transaction_and_a_completion_in_one_are_sealed(seal: Seal, store: Store) -> None:
    completing = FunctionRegistry()

    @completing.work
    def complete(to: str) -> None:
        connection = store.connect()
        connection.execute("BEGIN IMMEDIATE")
        current_run().complete(connection, f"completed {to}")
        connection.execute("COMMIT")
        connection.close()

    with Scheduler(store.url, works=completing, middleware=[seal(OLD)]) as scheduler:
        connection = store.connect()
        with connection:
            task = scheduler.within(connection).after(SOON, complete, CANARY)
        connection.close()
        scheduler.wait(task.id, WITHIN)
        with pytest.raises((TaskFailedError, CodecError)):
            Scheduler(repository=scheduler.repository, middleware=[seal(OTHER)]).result(task.id, SOON)
        complete_result = json.loads(scheduler.get(task.id).result or "")
        assert complete_result != f"completed {CANARY}"


def test_sealed_tasks_take_turns_at_their_limit_and_follow_one_another(seal: Seal, store: Store) -> None:
    with Scheduler(store.url, works=works, middleware=[seal(OLD)]) as scheduler:
        of_ann = pay.options(limit_key="ann", then=Then(refund.options(limit_key="ann"), ("Ann", 2)))
        tasks = [scheduler.after(SOON, of_ann, "Ann", amount=number) for number in range(3)]
        chained = [one for task in tasks for one in scheduler.tasks(chain=task.id)]
        assert [one.limit_key for one in chained] == ["ann"] * 6
        for one in chained:
            assert scheduler.wait(one.id, WITHIN).state is TaskState.DONE
    assert sorted(called, key=str) == [("Ann", 0), ("Ann", 1), ("Ann", 2), *[("refund", "Ann", 2)] * 3]


@pytest.mark.parametrize("chosen", ["replace", "preserve"])
def test_what_is_sealed_for_one_task_never_replaces_what_is_for_another(
    seal: Seal, store: Store, chosen: OnDuplicateName
) -> None:
    later = timedelta(days=1)
    with Scheduler(store.url, works=works, middleware=[seal(OLD)]) as scheduler:
        first = scheduler.after(later, pay.options(unique="ann"), "Ann")
        with pytest.raises(OptionError, match="sealed is for one task"):
            scheduler.after(later, pay.options(unique="ann", on_duplicate=chosen), "Bob")
        kept = scheduler.after(later, pay.options(unique="ann", on_duplicate="keep"), "Bob")
        assert kept.id == first.id
        scheduler.reschedule(first.id, first.scheduled_time - later)
        assert first.result(WITHIN) == "paid Ann"


def test_without_a_guard_nothing_is_different(store: Store) -> None:
    task_id = store.schedule(None, pay, "Ann")
    assert store.column("param", task_id) == '{"args":["Ann"]}'


def test_a_test_finds_what_waits_although_it_is_sealed(seal: Seal) -> None:
    with Stage() as stage:
        scheduler = stage.take(Scheduler("memory://", works=works, middleware=[seal(OLD)]))
        task = scheduler.after(timedelta(days=1), pay, "Ann")
        assert assert_scheduled(scheduler, pay, to="Ann").id == task.id
        assert task.result() == "paid Ann"


# -- Attacks on arguments


@pytest.mark.parametrize("at", [0.2, 0.6, 0.99])
def test_one_flipped_bit_holds_the_task_and_the_work_is_not_called(seal: Seal, store: Store, at: float) -> None:
    task_id = store.schedule(seal(OLD), pay, "Ann")
    stored = store.column("param", task_id)
    where = int(len(stored) * at)
    store.write(task_id, param=stored[:where] + chr(ord(stored[where]) ^ 1) + stored[where + 1 :])
    (info,) = store.run(seal(OLD), task_id)
    held(info, "")


def test_arguments_swapped_between_two_tasks_of_one_work_are_refused(seal: Seal, store: Store) -> None:
    first, second = (store.schedule(seal(OLD), pay, who) for who in ("Ann", "Mallory"))
    one, other = (store.column("param", task_id) for task_id in (first, second))
    store.write(first, param=other)
    store.write(second, param=one)
    for info in store.run(seal(OLD), first, second):
        held(info, MOVED)


def test_arguments_replayed_into_a_new_task_are_refused(seal: Seal, store: Store) -> None:
    guard = seal(OLD)
    task_id = store.schedule(guard, pay, "Mallory")
    store.run(guard, task_id)
    called.clear()
    store.sql(
        "INSERT INTO task (namespace, id, queue, rank, due_at, work_id, mode, max_attempts, max_lost, scheduled_time,"
        " created_at, modified_at, param) SELECT namespace, 'replayed', queue, rank, due_at, work_id, mode,"
        " max_attempts, max_lost, scheduled_time, created_at, modified_at, param FROM task WHERE id = ?",
        task_id,
    )
    (info,) = store.run(guard, "replayed")
    held(info, MOVED)


def test_a_task_that_is_made_another_works_is_refused(seal: Seal, store: Store) -> None:
    task_id = store.schedule(seal(OLD), pay, "Mallory")
    store.write(task_id, work_id="refund")
    (info,) = store.run(seal(OLD), task_id)
    held(info, MOVED)


def test_a_task_that_is_moved_to_another_namespace_is_refused(seal: Seal, store: Store) -> None:
    task_id = store.schedule(seal(OLD), pay, "Mallory", namespace="tenant-1")
    store.write(task_id, namespace="tenant-2")
    (info,) = store.run(seal(OLD), task_id, namespace="tenant-2")
    held(info, MOVED)


def test_a_result_is_no_argument(seal: Seal, store: Store) -> None:
    first = store.schedule(seal(OLD), pay.options(id="first"), "Ann")
    store.run(seal(OLD), first)
    called.clear()
    store.write(first, param=store.column("result", first), state=0, attempt=0, finished_at=None)
    (info,) = store.run(seal(OLD), first)
    held(info, MOVED)


@pytest.mark.parametrize("forged", ['{"args":["Mallory"]}', "{}", '"aes-gcm"', '{"hmac":"x","signed":{}}', "nonsense"])
def test_what_was_never_sealed_is_refused(seal: Seal, store: Store, forged: str) -> None:
    task_id = store.schedule(seal(OLD), pay, "Ann")
    store.write(task_id, param=forged)
    (info,) = store.run(seal(OLD), task_id)
    held(info, "")


def test_what_another_key_of_the_same_name_sealed_is_refused(seal: Seal, store: Store) -> None:
    task_id = store.schedule(seal({"old": bytes(31) + b"x"}), pay, "Mallory")
    (info,) = store.run(seal(OLD), task_id)
    held(info, MOVED)


# -- Attacks on results


def test_a_result_that_was_changed_moved_forged_or_removed_is_refused(seal: Seal, store: Store) -> None:
    guard = seal(OLD)
    first, second = (store.schedule(guard, pay, who) for who in ("Ann", "Bob"))
    store.run(guard, first, second)
    assert store.result(guard, first) == "paid Ann"
    good, other = (store.column("result", task_id) for task_id in (first, second))
    middle = len(good) // 2
    flipped = good[:middle] + chr(ord(good[middle]) ^ 1) + good[middle + 1 :]
    for bad in (other, flipped, '"paid Mallory"', store.column("param", first), None):
        store.write(first, result=bad)
        with pytest.raises(SealError):
            store.result(guard, first)
    store.write(first, result=good)
    assert store.result(guard, first) == "paid Ann"


# -- Keys


def test_what_an_old_key_sealed_is_opened_after_the_rotation_and_new_tasks_have_the_new_key(
    seal: Seal, store: Store
) -> None:
    before = store.schedule(seal(OLD), pay, "Ann")
    rotated = seal(NEW | OLD)
    after = store.schedule(rotated, pay, "Bob")
    assert [("old:" in store.column("param", one)) for one in (before, after)] == [True, False]
    store.run(rotated, before, after)
    assert [store.result(rotated, one) for one in (before, after)] == ["paid Ann", "paid Bob"]
    assert "new:" in store.column("result", before)


def test_a_key_that_is_not_here_holds_the_task_until_it_is(seal: Seal, store: Store) -> None:
    task_id = store.schedule(seal(OLD), pay, "Ann")
    (info,) = store.run(seal(NEW), task_id)
    held(info, "sealed with the key 'old', and there are only new here: add that key")
    guard = seal(NEW | OLD)
    with Scheduler(store.url, works=works, middleware=[guard]) as scheduler:
        scheduler.release(task_id)
        assert scheduler.result(task_id, WITHIN) == "paid Ann"


def test_tasks_from_before_are_taken_where_that_is_said_and_nothing_that_was_changed(seal: Seal, store: Store) -> None:
    plain, sealed = store.schedule(None, pay, "Ann"), store.schedule(seal(OLD), pay, "Bob")
    other = store.schedule(seal(OLD), pay, "Mallory")
    store.write(sealed, param=store.column("param", other))
    guard = seal(OLD, accept_plain=True)
    done, refused = store.run(guard, plain, sealed)
    assert (done.state, refused.hold, called.count(("Ann", 1))) == (TaskState.DONE, "undecodable", 1)
    assert store.result(guard, plain) == "paid Ann"
    assert "paid Ann" not in store.column("result", plain) or seal is SignMiddleware


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "at least one key"),
        ({"a": b"short"}, "is to be 32 bytes"),
        ({"a": "x" * 32}, "is to be 32 bytes"),
        ({"a:b": bytes(32)}, "key id 'a:b' is not allowed"),
        ({"a": bytes(32), "b": bytes(32)}, "none twice"),
    ],
    ids=range(5),
)
def test_keys_that_are_none_are_refused_and_never_shown(seal: Seal, keys: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words) as refused:
        seal(keys)
    assert "short" not in str(refused.value)
    assert repr(Keys("x", OLD | NEW)) == "<Keys old, new>"


# -- Nothing is told


def test_with_encryption_no_text_of_the_work_is_in_the_file(store: Store) -> None:
    guard = EncryptMiddleware(OLD)
    ids = [store.schedule(guard, work, CANARY) for work in (pay, fail)]
    paid, failed = store.run(guard, *ids)
    assert (paid.state, failed.state, called) == (TaskState.DONE, TaskState.FAILED, [(CANARY, 1), CANARY, CANARY])
    assert CANARY.encode() not in store.bytes()
    assert "ConnectionError: the text is not stored" in failed.error
    assert "KeyError: the text is not stored" in failed.error
    assert "in fail" in failed.error


def test_arguments_that_do_not_fit_are_not_quoted_either(store: Store) -> None:
    guard = EncryptMiddleware(OLD)
    scheduler = Scheduler(store.url, middleware=[guard])
    task_id = scheduler.schedule(
        TaskParam(work_id="pay", scheduled_time=scheduler_now(scheduler), param={CANARY: CANARY})
    ).id
    scheduler.close()
    (info,) = store.run(guard, task_id)
    held(info, "do not fit what the work declares")
    assert CANARY.encode() not in store.bytes()


def scheduler_now(scheduler: Scheduler) -> Any:
    return scheduler.after(timedelta(days=9), pay.options(id="probe"), "x").scheduled_time - timedelta(days=9)


def test_the_same_arguments_are_stored_as_different_text_each_time(store: Store) -> None:
    guard = EncryptMiddleware(OLD)
    first, second = (store.schedule(guard, pay, "Ann") for _ in range(2))
    assert store.column("param", first) != store.column("param", second)


def test_signed_payloads_can_be_read_by_people(store: Store) -> None:
    task_id = store.schedule(SignMiddleware(OLD), pay, "Ann")
    assert json.loads(store.column("param", task_id))["signed"] == {"args": ["Ann"]}


# -- The guards by themselves


def place(**about: str) -> Binding:
    return Binding(**({"kind": "param", "namespace": "default", "task_id": "t", "work_id": "w"} | about))


def test_no_flipped_bit_is_ever_taken(seal: Seal) -> None:
    guard, random, taken = seal(OLD), Random(11), []
    sealed = guard.seal('{"args":["Ann",{"amount":7}]}', place())
    assert sealed.isascii(), "each character is one byte, and stays one with any of its bits flipped"
    for _ in range(10_000):
        at, bit = random.randrange(len(sealed)), random.randrange(8)
        changed = sealed[:at] + chr(ord(sealed[at]) ^ 1 << bit) + sealed[at + 1 :]
        try:
            taken.append(guard.unseal(changed, place()))
        except SealError:
            continue
    assert taken == []


@pytest.mark.parametrize("about", ["kind", "namespace", "task_id", "work_id"])
def test_a_payload_is_good_in_its_place_alone(seal: Seal, about: str) -> None:
    guard = seal(OLD)
    sealed = guard.seal("{}", place())
    assert guard.unseal(sealed, place()) == "{}"
    with pytest.raises(SealError):
        guard.unseal(sealed, place(**{about: "elsewhere"}))


def test_places_cannot_be_mistaken_for_each_other_by_clever_names(seal: Seal) -> None:
    guard = seal(OLD)
    sealed = guard.seal("{}", place(task_id='a","b', work_id="c"))
    with pytest.raises(SealError):
        guard.unseal(sealed, place(task_id="a", work_id='b","c'))


def test_the_arguments_of_a_schedule_are_good_for_all_its_tasks_and_no_other_work(seal: Seal) -> None:
    payloads = Payloads([seal(OLD)], lambda: "default")
    template = payloads.seal_param("", "pay", '{"args":["Ann"]}')
    assert template == payloads.seal_param("", "pay", '{"args":["Ann"]}'), "declared again it is the same schedule"
    assert [payloads.open_param(one, "pay", template) for one in ("a", "b")] == ['{"args":["Ann"]}'] * 2
    with pytest.raises(SealError):
        payloads.open_param("a", "refund", template)
    with pytest.raises(SealError):
        payloads.open_result("a", "pay", template)


def test_a_schedule_that_is_declared_again_is_the_same_and_its_tasks_are_run(seal: Seal) -> None:
    with Stage() as stage:
        scheduler = stage.take(Scheduler("memory://", works=works, middleware=[seal(OLD)]))
        scheduler.every(Cron("0 9 * * *"), pay.options(name="daily"), CANARY)
        schedule = scheduler.every(Cron("0 9 * * *"), pay.options(name="daily"), CANARY)
        stage.clock.advance(days=2)
        assert schedule.edition == 1
        assert called == [(CANARY, 1)] * 2
        stored = str([info.param for info in scheduler.tasks()])
        assert (CANARY in stored) is (seal is SignMiddleware)


@pytest.mark.skipif(sys.platform == "win32", reason="the work is in a module that the process imports")
def test_work_in_another_process_has_its_arguments_and_its_result_is_sealed(seal: Seal, store: Store) -> None:
    registry = FunctionRegistry()
    away = registry.work(id="double", on="processes")(double)
    fails = registry.work(id="fails", on="processes")(raise_it)
    guard = seal(OLD)
    places = [Processes(workers=1)]
    with Scheduler(store.url, works=registry, middleware=[guard], places=places) as scheduler:
        task = scheduler.after(SOON, away, CANARY)
        assert task.result(WITHIN) == CANARY * 2
        failed = scheduler.after(SOON, fails, CANARY).wait(WITHIN)
        assert "LookupError" in (failed.error or "")
        moved = scheduler.after(timedelta(days=1), away, "x")
        store.write(moved.id, param=store.column("param", task.id), due_at=0)
        assert "belongs to another task" in (until_settled(scheduler, moved.id).reason or "")
    assert (CANARY.encode() in store.bytes()) is (seal is SignMiddleware)


def test_both_together_sign_what_is_encrypted() -> None:
    payloads = Payloads([SignMiddleware(OLD), EncryptMiddleware(NEW)], lambda: "default")
    sealed = payloads.seal_param("t", "pay", '{"args":[]}')
    assert json.loads(sealed)["signed"].startswith("aes-gcm:new:")
    assert payloads.open_param("t", "pay", sealed) == '{"args":[]}'
    assert payloads.conceals


def test_a_repository_that_gets_plain_arguments_is_refused(seal: Seal) -> None:
    storage = SingleNodeTaskStorage(SeedRepository(), work_registry=works)
    with pytest.raises(OptionError, match="nothing can guard them"):
        Scheduler(task_storage=storage, middleware=[seal(OLD)])
