"""What both faces share: what they refuse before anything is stored, and what they say where there is no answer."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from kokugen import AsyncScheduler, Middleware, Retry, Scheduler, TaskParam, TaskState, current_run
from kokugen import scheduler as face
from kokugen.acceptance import QUEUES_MAX
from kokugen.clock import Clock, SystemClock
from kokugen.engine.hooks import RunEvent
from kokugen.errors import NotUpdatableStateError, OptionError, SchedulerStateError, UnknownOutcomeError
from kokugen.front import BATCH, BATCHES_AHEAD
from kokugen.middleware.base import ScheduleNext, ScheduleRequest
from kokugen.recurrence import Weekly
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import Added, CancelAnswer, CancelRequest, ClaimAnswer, ClaimRequest, NewTask
from kokugen.settings import Settings
from kokugen.testing import Fault, FaultyRepository
from tests.task_storage.seed_repository import SeedRepository

LATER = datetime(2100, 1, 1, tzinfo=UTC)
WITHIN = timedelta(seconds=20)


class Silent(MemoryRepository):
    """Takes every write and answers none."""

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        super().add(tasks)
        return Reply()

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        super().cancel(request)
        return Reply()


def test_a_queue_that_is_named_twice_is_served_once(tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", queues=("default", "mail", "default"))

    @scheduler.work
    def remind() -> str:
        return "reminded"

    with scheduler:
        assert scheduler.after(timedelta(0), remind).result(WITHIN) == "reminded"


@pytest.mark.parametrize("queues", ["default", [f"q{n}" for n in range(QUEUES_MAX + 1)], ["a b"]])
def test_queues_that_no_claim_could_ask_for_are_refused(queues: Any) -> None:
    with pytest.raises(OptionError, match="queue"):
        Scheduler("memory://", queues=queues)


def test_as_many_queues_as_are_allowed_can_be_served(tmp_path: Path) -> None:
    queues = [f"q{n}" for n in range(QUEUES_MAX)]
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", queues=queues)

    @scheduler.work(queue=queues[-1])
    def remind() -> str:
        return "reminded"

    with scheduler:
        assert scheduler.after(timedelta(0), remind).result(WITHIN) == "reminded"


def test_a_write_that_is_not_answered_names_the_task_so_that_it_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(face, "ANSWER_S", 0.0)
    store = Silent()
    scheduler = Scheduler(repository=store)
    with pytest.raises(UnknownOutcomeError) as unknown:
        scheduler.schedule(TaskParam(work_id="remind", scheduled_time=LATER))
    (task_id,) = unknown.value.task_ids
    assert [info.id for info in store.get([task_id]).peek()] == [task_id]
    with pytest.raises(UnknownOutcomeError, match=task_id):
        scheduler.cancel(task_id)


class RefuseTwo(Middleware):
    """Refuses tasks of the work `two`."""

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if request.work_id == "two":
            raise OptionError("two is refused")
        return call_next(request)


def test_of_many_tasks_that_middleware_sees_a_bad_one_is_refused_before_the_first_is_stored() -> None:
    scheduler = Scheduler("memory://", middleware=[RefuseTwo()])
    good = TaskParam(work_id="one", scheduled_time=LATER)
    with pytest.raises(OptionError, match="work id"):
        scheduler.schedule_many([good, TaskParam(work_id="not a name", scheduled_time=LATER)])
    assert scheduler.count() == 0


def test_of_many_tasks_the_one_that_middleware_refuses_keeps_back_no_other() -> None:
    scheduler = Scheduler("memory://", middleware=[RefuseTwo()])
    with pytest.raises(OptionError, match="two is refused"):
        scheduler.schedule_many(TaskParam(work_id=one, scheduled_time=LATER) for one in ("one", "two", "three"))
    assert {info.work_id for info in scheduler.tasks()} == {"one", "three"}


class Counting(MemoryRepository):
    """Counts the calls that add tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.adds = 0

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        self.adds += 1
        return super().add(tasks)


def test_of_a_great_many_tasks_a_few_batches_are_on_their_way_at_once_so_that_others_get_a_turn() -> None:
    store = Counting()
    replies = Scheduler(repository=store)._front.accept_many(
        TaskParam(work_id="one", scheduled_time=LATER) for _ in range(BATCH * (BATCHES_AHEAD + 3))
    )
    assert len(next(replies).result()) == BATCH
    assert store.adds == BATCHES_AHEAD
    next(replies).result()
    assert store.adds == BATCHES_AHEAD + 1
    assert sum(len(reply.result()) for reply in replies) == BATCH * (BATCHES_AHEAD + 1)


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_the_reason_of_a_cancellation_is_text_that_every_store_keeps(url: str, tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}" if url == "sqlite" else url)
    task = scheduler.schedule(TaskParam(work_id="remind", scheduled_time=LATER))
    task.cancel("lone \ud800, NUL \0, and " + "long " * 10_000)
    reason = task.info().reason
    assert reason is not None
    assert reason.startswith("lone \\ud800, NUL \\0, and long")
    assert len(reason.encode()) <= 8 * 1024
    scheduler.close()


def run_sync(scheduler: Any) -> None:
    scheduler.run()


def run_async(scheduler: Any) -> None:
    asyncio.run(scheduler.run())


FACES = pytest.mark.parametrize(("kind", "run"), [(Scheduler, run_sync), (AsyncScheduler, run_async)])


@FACES
def test_run_closes_the_store_though_a_signal_handler_was_set_by_no_python_code(
    monkeypatch: pytest.MonkeyPatch, kind: Any, run: Callable[[Any], None]
) -> None:
    handlers: dict[Any, Any] = {}

    def set_handler(number: int, handler: Any) -> None:
        if handler is None:
            raise TypeError("as the real one does")
        handlers[number] = handler

    monkeypatch.setattr(signal, "signal", set_handler)
    store = MemoryRepository()
    monkeypatch.setattr(store, "close", lambda: handlers.update(closed=True))
    scheduler = kind(repository=store)
    thread = threading.Thread(target=run, args=(scheduler,))
    thread.start()
    while not scheduler.running:
        threading.Event().wait(0.001)
    handlers[signal.SIGTERM]()
    thread.join(WITHIN.total_seconds())
    assert handlers == {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.SIG_DFL, "closed": True}


@FACES
def test_run_off_the_main_thread_is_refused_and_whoever_else_runs_the_scheduler_goes_on(
    kind: Any, run: Callable[[Any], None]
) -> None:
    scheduler = kind("memory://")
    with ThreadPoolExecutor(1) as beside, pytest.raises(SchedulerStateError, match="main thread"):
        beside.submit(run, scheduler).result(WITHIN.total_seconds())
    assert not scheduler.running


class OneClaim(MemoryRepository):
    """Breaks the engine at its first claim, as a bug of it would."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        raise ZeroDivisionError("a bug")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run_does_not_return_in_peace_where_the_engine_ended_by_an_error() -> None:
    scheduler = Scheduler(repository=OneClaim(SystemClock()))
    scheduler.work(id="remind")(lambda: None)
    with pytest.raises(SchedulerStateError, match="stopped by itself") as stopped:
        scheduler.run()
    assert isinstance(stopped.value.__cause__, ZeroDivisionError)


def test_an_outcome_that_was_not_written_before_a_stop_is_written_after_the_next_start() -> None:
    store = FaultyRepository(MemoryRepository())
    settings = Settings(beat_s=0.2, ttl_s=2.0, margin_s=0.5, rpc_s=0.5, watch_s=0.1)
    scheduler = Scheduler(repository=store, settings=settings)
    runs = SimpleQueue[None]()

    @scheduler.work
    def remind() -> None:
        store.plan = lambda verb: Fault.REFUSED if verb == "finish" else None
        runs.put(None)

    with scheduler:
        task = scheduler.after(timedelta(0), remind)
        runs.get(timeout=WITHIN.total_seconds())
        scheduler.stop(timedelta(0))
        store.plan = None
        scheduler.start()
        assert task.wait(WITHIN).state is TaskState.DONE
    assert runs.empty()
    assert task.info().fence == 1


@pytest.mark.parametrize("running", [True, False])
def test_retry_marking_writes_the_outcomes_that_the_store_did_not_take(running: bool) -> None:
    store = FaultyRepository(MemoryRepository())
    scheduler = Scheduler(repository=store)
    done = threading.Event()

    @scheduler.work
    def remind() -> None:
        store.down = True
        done.set()

    scheduler.start()
    task = scheduler.after(timedelta(0), remind)
    assert done.wait(WITHIN.total_seconds())
    while not store.faults:
        threading.Event().wait(0.001)
    if not running:
        scheduler.stop(timedelta(0))
    assert not scheduler.retry_marking()
    store.down = False
    assert scheduler.retry_marking()
    assert task.info().state is TaskState.DONE
    scheduler.close()


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_whoever_asks_hears_of_an_outcome_that_is_refused(url: str, tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}" if url == "sqlite" else url)
    entered, superseded = threading.Event(), SimpleQueue[str]()

    @scheduler.work
    def remind() -> None:
        entered.set()
        assert current_run().cancelled.wait(WITHIN)

    scheduler.on_superseded(lambda event: superseded.put(event.run.task_id))
    with scheduler:
        task = scheduler.after(timedelta(0), remind)
        assert entered.wait(WITHIN.total_seconds())
        scheduler.cancel(task.id, force=True)
        assert superseded.get(timeout=WITHIN.total_seconds()) == task.id


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_a_task_that_is_claimed_here_and_waits_for_a_worker_can_still_be_moved(url: str, tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}" if url == "sqlite" else url, workers=1)
    entered, leave, ran = threading.Event(), threading.Event(), threading.Event()

    @scheduler.work
    def block() -> None:
        entered.set()
        assert leave.wait(WITHIN.total_seconds())

    @scheduler.work
    def remind() -> None:
        ran.set()

    with scheduler:
        blocking = scheduler.after(timedelta(0), block)
        assert entered.wait(WITHIN.total_seconds())
        task = scheduler.after(timedelta(0), remind)
        engine = scheduler._front.runner.engine
        assert engine is not None
        while all(lease.id != task.id for lease in list(engine.runs)):  # the store has it Working a moment earlier
            threading.Event().wait(0.001)
        task.reschedule(LATER)
        info = task.info()
        assert (info.state, info.due_at, info.scheduled_time) == (TaskState.INITIALIZED, LATER, LATER)
        with pytest.raises(NotUpdatableStateError):
            blocking.reschedule(LATER)
        leave.set()
        blocking.wait(WITHIN)
    assert not ran.is_set()


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
def test_whoever_asks_hears_of_a_task_that_is_quarantined(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}" if url == "sqlite" else url)
    quarantined = SimpleQueue[tuple[str, str | None]]()

    @scheduler.on_quarantined
    def note(event: RunEvent) -> None:
        quarantined.put((event.run.task_id, event.error))

    past = datetime(2001, 1, 1, tzinfo=UTC)
    task = scheduler.schedule(TaskParam(work_id="resize", scheduled_time=past, param={"picture": 7}))
    scheduler.work(id="resize")(lambda picture, width: None)
    with scheduler:
        task_id, reason = quarantined.get(timeout=WITHIN.total_seconds())
    assert task_id == task.id
    assert reason is not None
    assert "missing a required argument: 'width'" in reason
    (told,) = [record for record in caplog.records if "is quarantined" in record.getMessage()]
    assert (told.levelname, told.name) == ("WARNING", "kokugen")
    assert task.id in told.getMessage()


OF_TASKS = ("cancel", "reschedule", "revive", "release")


@pytest.mark.parametrize("by", [5, "", "a" * 201, "two\nlines", "\ud800"])
@pytest.mark.parametrize(
    "change", ["cancel", "reschedule", "revive", "release", "pause", "resume", "trigger", "remove"]
)
def test_who_changes_something_is_a_name_that_can_be_printed(change: str, by: Any) -> None:
    scheduler = Scheduler("memory://")
    work = scheduler.work(id="remind")(lambda: None)
    handle = scheduler.after(timedelta(hours=1), work)
    scheduler.every(timedelta(hours=1), work)
    before = scheduler.get(handle.id), scheduler.schedule_of("remind")
    named = (handle.id,) if change in OF_TASKS else ("remind",)
    more = {"when": datetime(2030, 1, 1, tzinfo=UTC)} if change == "reschedule" else {}
    with pytest.raises(OptionError, match="use 1 to 200 characters that can be printed"):
        getattr(scheduler, change)(*named, by=by, **more)
    assert (scheduler.get(handle.id), scheduler.schedule_of("remind")) == before


@pytest.mark.parametrize("note", [5, {"a": 1}, "\ud800", "a" * 1001, "a\0b"])
def test_a_note_that_no_store_could_keep_is_refused(note: Any) -> None:
    scheduler = Scheduler("memory://")
    scheduler.every(timedelta(hours=1), scheduler.work(id="remind")(lambda: None))
    with pytest.raises(OptionError, match="use text of up to 1,000 characters"):
        scheduler.pause("remind", note=note)
    assert not scheduler.schedule_of("remind").paused


def test_the_reason_of_a_cancellation_is_text() -> None:
    scheduler = Scheduler("memory://")
    handle = scheduler.after(timedelta(hours=1), scheduler.work(id="remind")(lambda: None))
    with pytest.raises(OptionError, match="reason=5: use text"):
        handle.cancel(reason=5)  # type: ignore[arg-type]
    assert handle.info().state is TaskState.INITIALIZED


@pytest.mark.parametrize("owner", [5, "", "my shop"])
def test_an_owner_of_schedules_is_a_name(owner: Any) -> None:
    with pytest.raises(OptionError, match="owner"):
        Scheduler("memory://", owner=owner)


def test_what_is_no_calendar_is_refused() -> None:
    scheduler = Scheduler("memory://")
    with pytest.raises(OptionError, match="5 is no calendar"):
        scheduler.add_calendar("holidays", 5)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="calendar 'my days' is not allowed"):
        scheduler.add_calendar("my days", Weekly("mon-fri"))


@pytest.mark.parametrize("limit", [-1, 2.5, "all"])
def test_a_number_of_tasks_that_cannot_be_listed_is_refused(limit: Any) -> None:
    with pytest.raises(OptionError, match="use a whole number of at least 0"):
        list(Scheduler("memory://").tasks(limit=limit))


@pytest.mark.parametrize("ask", [lambda scheduler, **how: list(scheduler.tasks(**how)), Scheduler.count])
def test_a_filter_that_there_is_not_is_refused_by_name(ask: Callable[..., object]) -> None:
    scheduler = Scheduler("memory://")
    with pytest.raises(
        OptionError, match="there is no filter 'states': use state, work, queue, tag, unique, chain, held"
    ):
        ask(scheduler, states="Done")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("url", 5),
        ("settings", {"ttl_s": 30}),
        ("works", 5),
        ("repository", 5),
        ("repository", SeedRepository()),
        ("label", 5),
        ("label", ""),
        ("label", "two\nlines"),
        ("label", "x" * 201),
        ("places", 5),
        ("places", [5]),
        ("middleware", 5),
        ("middleware", [5]),
    ],
    ids=str,
)
def test_a_scheduler_refuses_what_it_could_not_use_when_it_is_made(keyword: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{keyword}="):
        Scheduler(**{keyword: value})


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None, 10_000], ids=str)
def test_workers_are_added_and_removed_by_whole_numbers_up_to_what_there_may_be(count: Any) -> None:
    scheduler = Scheduler("memory://", workers=3)
    with pytest.raises(OptionError, match="use 1 to 10,000"):
        scheduler.add_workers(count)
    if count != 10_000:
        with pytest.raises(OptionError, match="use 1 to 10,000"):
            scheduler.remove_workers(count)
    assert scheduler.add_workers(1) == 4


@pytest.mark.parametrize("param", [None, "remind", {"work_id": "remind"}], ids=str)
def test_what_is_no_param_is_refused(param: Any) -> None:
    scheduler = Scheduler("memory://")
    with pytest.raises(OptionError, match="TaskParam"):
        scheduler.schedule(param)
    with pytest.raises(OptionError, match="TaskParam"):
        scheduler.schedule_many([param])


@pytest.mark.parametrize("span", [1, "1s", timedelta(seconds=-1)], ids=str)
def test_how_long_to_wait_is_a_timedelta_from_zero_on(span: Any) -> None:
    scheduler = Scheduler("memory://")
    scheduler.works.work(int, id="note")  # type: ignore[attr-defined]
    handle = scheduler.schedule(TaskParam(work_id="note", scheduled_time=datetime.now(UTC)))
    with pytest.raises(OptionError, match="timeout="):
        handle.wait(span)
    with pytest.raises(OptionError, match="grace="):
        scheduler.stop(span)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", "x"),
        ("attempts", 2.5),
        ("initial", 1),
        ("factor", "2"),
        ("delay_max", None),
        ("jitter", "x"),
        ("retry_on", OSError),
    ],
)
def test_a_retry_of_numbers_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"Retry\({name}="):
        Retry(**{name: value})


ASKS: dict[str, Callable[[Scheduler, Any], object]] = {
    "get": lambda scheduler, task_id: scheduler.get(task_id),
    "attempts": lambda scheduler, task_id: scheduler.attempts(task_id),
    "wait": lambda scheduler, task_id: scheduler.wait(task_id, WITHIN),
    "cancel": lambda scheduler, task_id: scheduler.cancel(task_id),
    "reschedule": lambda scheduler, task_id: scheduler.reschedule(task_id, LATER),
    "revive": lambda scheduler, task_id: scheduler.revive(task_id),
    "release": lambda scheduler, task_id: scheduler.release(task_id),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
@pytest.mark.parametrize("store", ["memory://", "sqlite:///tasks.db"])
def test_what_is_no_id_is_refused_and_not_taken_for_a_task_that_is_missing(
    store: str, ask: Callable[[Scheduler, Any], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scheduler = Scheduler(store)
    handle = scheduler.schedule(TaskParam(work_id="remind", scheduled_time=LATER))
    before = scheduler.get(handle.id)
    for wrong in (handle, [handle.id], 5, None, "\ud800"):
        with pytest.raises(OptionError, match=r"such as handle\.id"):
            ask(scheduler, wrong)
    assert scheduler.get(handle.id) == before
    scheduler.close()


@pytest.mark.parametrize("name", ["state", "work", "queue", "tag", "unique", "chain", "held"])
def test_a_filter_of_a_wrong_type_is_refused_and_does_not_find_nothing(name: str) -> None:
    scheduler = Scheduler("memory://")
    for wrong in (5, b"x", object()):
        with pytest.raises(OptionError, match=f"{name}="):
            scheduler.count(**{name: wrong})
    scheduler.close()
