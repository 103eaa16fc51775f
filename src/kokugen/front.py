"""What both faces share: the parts and the runner, assembled; how tasks are accepted and changed.

Every method that asks the store returns a `Reply`: `Scheduler` blocks on it, `AsyncScheduler` awaits it. Nobody
writes rows behind its back: the faces, the CLI and the task storages all schedule through `accept`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from kokugen.acceptance import (
    Intake,
    check_param,
    check_params,
    check_queue_limits,
    check_time,
    request_of,
    row_of,
)
from kokugen.chaining import Chain, batched, firsts
from kokugen.clock import Clock, to_us
from kokugen.codec import cut_error, decode_value
from kokugen.dispatcher.place import Place
from kokugen.engine.doorkeeper import Declared, Doorkeeper
from kokugen.engine.service import Service
from kokugen.errors import (
    DuplicateTaskError,
    NotUpdatableStateError,
    OptionError,
    TaskFailedError,
)
from kokugen.limit import Limit
from kokugen.middleware.base import CancelWatcher, Middleware, ScheduleRequest, schedule_chain
from kokugen.options import check_by, check_id, shortened
from kokugen.parts import Parts
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.reply import Reply, gather
from kokugen.repository.limit_rows import GateStatus
from kokugen.repository.protocol import DurableRepository, LimitRepository
from kokugen.repository.rows import (
    Added,
    AddResult,
    CancelAnswer,
    CancelRequest,
    CancelResult,
    NewTask,
    Revision,
)
from kokugen.runner import Runner
from kokugen.schedules.agenda import Agenda
from kokugen.settings import Settings
from kokugen.task import OnDuplicate, TaskInfo, TaskParam, TaskState
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from kokugen.waiting import Waits

WORKERS = 10
ASYNC_WORKERS = 100
BATCH = 1000
BATCHES_AHEAD = 10

H = TypeVar("H")
T = TypeVar("T")


class Front(Generic[H]):
    """The parts of one scheduler. `handle` makes what `accept` answers with.

    It takes an id, a work id, a time, and the state of a task that was there already.
    """

    def __init__(  # noqa: PLR0913 - the faces' keywords
        self,
        handle: Callable[[str, str, int, TaskState | None], H],
        url: str | None,
        *,
        works: WorkRegistry | None,
        repository: DurableRepository | None,
        middleware: Sequence[Middleware],
        queues: Sequence[str],
        namespace: str,
        workers: int,
        async_workers: int,
        places: Sequence[Place],
        settings: Settings | None,
        clock: Clock | None,
        label: str | None,
        shared: bool,
        should_restore: Callable[[TaskInfo], bool] | None,
        owner: str | None,
        task_storage: SingleNodeTaskStorage | None = None,
        queue_limits: Mapping[str, Limit | None] | None = None,
    ) -> None:
        if task_storage is not None:
            works = works or task_storage.work_registry
            middleware = (*task_storage.middleware(), *middleware)
            shared, should_restore = task_storage.shared, task_storage.should_restore
            url, repository = _store_of(task_storage, url, repository)
        self.parts = Parts(
            url,
            works=works,
            repository=repository,
            middleware=middleware,
            namespace=namespace,
            settings=settings,
            clock=clock,
        )
        self.runner = Runner(
            self.parts,
            queues=queues,
            workers=workers,
            async_workers=async_workers,
            places=places,
            label=label,
            shared=shared,
            should_restore=should_restore,
        )
        if task_storage is not None and not task_storage.mirrors:
            task_storage.durable = self.runner
        elif task_storage is not None and self.parts.payloads is not None:
            raise OptionError("a repository with the seed's methods alone gets plain arguments: nothing can guard them")
        self.agenda = Agenda(self.parts, lambda: self.runner.engine, lambda: handle("", "", 0, None), owner)
        self._limits = Declared(self.parts.works, check_queue_limits(queue_limits or {}))
        self._doorkeeper: Doorkeeper | None = None
        self.runner.services = self._services
        self.waits = Waits(self.parts)
        self._handle = handle
        self._mirrored = task_storage is not None and task_storage.mirrors
        self._chain = schedule_chain(self.parts.middleware, self._add_one) if self.parts.middleware else None
        self._cancel_watchers = [one for one in self.parts.middleware if isinstance(one, CancelWatcher)]

    def _services(self) -> list[Service]:
        """Return what an engine runs beside itself."""
        repository, parts = self.parts.repository, self.parts
        services: list[Service] = [*self.agenda.services()]
        if isinstance(repository, LimitRepository):
            self._doorkeeper = Doorkeeper(
                repository,
                self._limits,
                listen=parts.repository.listen,
                clock=parts.clock,
                settings=parts.settings,
            )
            services.append(self._doorkeeper)
        return services

    # -- Accepting tasks

    def submit(self, work: Work, request: ScheduleRequest) -> Reply[H]:
        """Accept a task of declared work."""
        if self._chain is not None:
            return self._chain(request)
        if request.options.then:
            return self._add_one(request)
        known = self.parts.work_of(work.id)  # the work in hand may have options of its own, which are to be stored
        declared = None if known is None else known.declared
        row = row_of(request, self.parts.ids.task_id(), work, declared, payloads=self.parts.payloads)
        return self._add(row, request)

    def accept(self, request: ScheduleRequest) -> Reply[H]:
        """Accept a task, through the middleware. The caller's arguments are checked before anything is stored."""
        return (self._chain or self._add_one)(request)

    def accept_param(self, param: TaskParam) -> Reply[H]:
        """Accept a task given in plain data."""
        return self.accept(self.request(param))

    def accept_many(self, params: Iterable[TaskParam]) -> Iterator[Reply[list[H]]]:
        """Accept many tasks in batches; each batch is one statement. All are checked before the first is stored.

        Wait for each reply before you take the next: a few batches are always on their way, but never all, so that
        other calls, claims among them, need not wait for the last. Middleware sees tasks one by one; one that it
        refuses keeps back no other.
        """
        params = check_params(params)
        if self._chain is not None:
            return _ahead(map(self._in_turn, [self.request(param) for param in params]), BATCH)
        parts = self.parts
        intake = Intake(parts.work_of, parts.ids.task_id, lambda request: self.chain(request).rows)
        batches = batched(list(map(intake.rows, params)), BATCH)
        return _ahead(map(self._add_batch, batches), BATCHES_AHEAD)

    def _in_turn(self, request: ScheduleRequest) -> Reply[list[H]]:
        try:
            return self.accept(request).then(lambda one: [one])
        except Exception as error:  # noqa: BLE001 - it is the answer for this one
            return Reply.failed(error)

    def request(self, param: TaskParam) -> ScheduleRequest:
        """Return the request for plain data."""
        work = self.parts.work_of(check_param(param).work_id)
        return request_of(param, work.declared if work is not None else None)

    def chain(self, request: ScheduleRequest) -> Chain:
        """Return the row to add, and behind it those of the tasks that follow."""
        return Chain(self.parts, request, mirrored=self._mirrored)

    def _add_one(self, request: ScheduleRequest) -> Reply[H]:
        chain = self.chain(request)
        if request.restored:
            return self._restore(chain.rows[0])
        return self._add_chain(chain) if len(chain.rows) > 1 else self._add(chain.rows[0], request)

    def _add_chain(self, chain: Chain) -> Reply[H]:
        def first(handles: list[H]) -> H:
            chain.answered(self.to_follower)
            return handles[0]

        return self._add_batch(chain.rows).then(first)

    def to_follower(self, row: NewTask) -> H:
        """Return the handle of a task that was added behind the one that it follows."""
        return self._handle(row.id, row.work_id, row.scheduled_time, None)

    def _restore(self, row: NewTask) -> Reply[H]:
        """Add a task that waits elsewhere; where it is over here, from an earlier life of it, it waits again."""

        def wait_again(answers: list[Added]) -> Reply[H]:
            handle = self.to_handle(row, answers[0])
            if answers[0].result is not AddResult.EXISTED:
                return Reply.of(handle)
            return self.parts.repository.revive([row.id], due_at=row.due_at).then(lambda _: handle)

        return self.parts.repository.add([row]).on((row.id,)).and_then(wait_again)

    def _add(self, row: NewTask, request: ScheduleRequest) -> Reply[H]:
        if row.limit_key is not None:
            self._expect_limits()
        added = self.parts.repository.add([row]).on((row.id,))
        if request.options.id is None and not row.on_duplicate:
            # an id made here can only be there from the same call, asked for twice
            return added.then(lambda answers: self.to_handle(row, answers[0]))
        return added.and_then(lambda answers: self._handles([row], answers)).then(lambda handles: handles[0])

    def _add_batch(self, rows: list[NewTask]) -> Reply[list[H]]:
        """Add tasks; those that follow others have no handle."""
        if any(row.limit_key is not None for row in rows):
            self._expect_limits()
        added = self.parts.repository.add(rows).on(tuple(row.id for row in rows))
        return added.and_then(lambda answers: self._handles(*firsts(rows, answers)))

    def _expect_limits(self) -> None:
        if self._doorkeeper is not None:
            self._doorkeeper.expect()

    def _handles(self, rows: Sequence[NewTask], answers: Sequence[Added]) -> Reply[list[H]]:
        """Return the handles of tasks; those of ids that existed tell what the store has, if it can be read."""

        def make(found: Iterable[TaskInfo]) -> list[H]:
            stored = {info.id: info for info in found}
            pairs = zip(rows, answers, strict=True)
            return [self.to_handle(row, answer, stored.get(answer.id)) for row, answer in pairs]

        pairs = zip(rows, answers, strict=True)
        existing = [one.id for row, one in pairs if one.result is AddResult.EXISTED or _stands_for(row, one)]
        if not existing:
            return Reply.of(make(()))
        return self.parts.repository.get(existing).or_else(lambda _: Reply.of([])).then(make)

    def to_handle(self, row: NewTask, answer: Added, stored: TaskInfo | None = None) -> H:
        """Return the handle of an added task, or of the one that existed. Raises DuplicateTaskError."""
        if answer.result is AddResult.DUPLICATE and not _stands_for(row, answer):
            raise DuplicateTaskError(row.unique_key or "", answer.id)
        if stored is not None:
            return self._handle(stored.id, stored.work_id, to_us(stored.scheduled_time), stored.state)
        known = None if answer.result is AddResult.ADDED else TaskState.INITIALIZED
        return self._handle(answer.id, row.work_id, row.scheduled_time, known)

    def limits(self) -> Reply[list[GateStatus]]:
        """Answer with the limits of the store. Raises OptionError for one that keeps none."""
        repository = self.parts.repository
        if not isinstance(repository, LimitRepository):
            raise OptionError(f"{repository.url} keeps no limits: use one of kokugen's own repositories")
        return repository.gates()

    # -- Changing tasks

    def cancel(
        self, ids: Sequence[str], *, reason: str | None, force: bool, by: str | None
    ) -> Reply[list[CancelAnswer]]:
        """Cancel; a run of this process that has not started never will, and one that has is told at once."""
        if reason is not None and not isinstance(reason, str):
            raise OptionError(f"reason={shortened(reason)}: use text")
        why = None if reason is None else cut_error(reason)
        request = CancelRequest(ids=tuple(map(check_id, ids)), reason=why, force=force, by=check_by(by))
        answer = self.parts.repository.cancel(request).on(request.ids)
        stopped = answer.then(lambda answers: [self._stop_here(one, why) for one in answers])
        return self._watched(stopped) if self._cancel_watchers else stopped

    def _watched(self, stopped: Reply[list[CancelAnswer]]) -> Reply[list[CancelAnswer]]:
        """Return the same answers once all who watch have taken note of what was cancelled."""

        def tell(answers: list[CancelAnswer]) -> Reply[list[CancelAnswer]]:
            ids = [one.id for one in answers if one.result is CancelResult.CANCELLED]
            noted = [watcher.task_cancelled(task_id) for watcher in self._cancel_watchers for task_id in ids]
            return gather(noted).then(lambda _: answers)

        return stopped.and_then(tell)

    def _stop_here(self, answer: CancelAnswer, reason: str | None) -> CancelAnswer:
        engine = self.runner.own_engine()
        if answer.claim is None or engine is None or not engine.drop(answer.id, answer.claim, reason):
            return answer
        return CancelAnswer(answer.id, CancelResult.CANCELLED, TaskState.CANCELLED)

    def reschedule(self, task_id: str, when: datetime, by: str | None) -> Reply[int]:
        """Move a waiting task; answers with its new time in microseconds."""
        us, zone, local = check_time(when)
        revision = Revision(due_at=us, scheduled_time=us, zone=zone, local_time=local, by=check_by(by))
        revised = self.parts.repository.revise(check_id(task_id), revision).on((task_id,))
        return revised.or_else(lambda error: self._recall(task_id, us, revision, error)).then(lambda _: us)

    def _recall(self, task_id: str, due_us: int, revision: Revision, error: BaseException) -> Reply[int]:
        """Move a task that was claimed here and has not started: it is taken back first."""
        engine = self.runner.own_engine()
        claimed = isinstance(error, NotUpdatableStateError) and error.state is TaskState.WORKING
        recalled = engine.recall(task_id, due_us) if claimed and engine is not None else None
        if recalled is None:
            return Reply.failed(error)
        return recalled.and_then(lambda _: self.parts.repository.revise(task_id, revision))

    def revive(self, ids: Sequence[str], when: datetime | None, by: str | None) -> Reply[list[str]]:
        """Make ended tasks wait again; answers with the ids of those that do."""
        due_at = None if when is None else check_time(when)[0]
        return self.parts.repository.revive([check_id(one) for one in ids], due_at=due_at, by=check_by(by))

    def release(self, task_id: str, by: str | None) -> Reply[int]:
        """Take a task out of its hold; answers with its new revision."""
        return self.parts.repository.revise(check_id(task_id), Revision(release=True, by=check_by(by)))

    def result_of(self, info: TaskInfo) -> Any:
        """Return what the work of an ended task returned. Raises TaskFailedError where it has none, and SealError."""
        if info.state is not TaskState.DONE:
            raise TaskFailedError(info.id, info.state, info.reason, info.error)
        work, payloads, text = self.parts.work_of(info.work_id), self.parts.payloads, info.result
        if payloads is not None:
            text = payloads.open_result(info.id, info.work_id, text)
        if work is None:
            return None if text is None else decode_value(text)
        return work.decode_result(text)


def _stands_for(row: NewTask, answer: Added) -> bool:
    """Return whether the task with the unique key stands for the one that was to be added."""
    kept = answer.result is AddResult.DUPLICATE and row.on_duplicate == OnDuplicate.KEEP
    return kept or answer.result is AddResult.REPLACED


def _store_of(
    task_storage: SingleNodeTaskStorage, url: str | None, repository: DurableRepository | None
) -> tuple[str | None, DurableRepository | None]:
    """Return where tasks are: in the storage's repository, or in memory where the storage mirrors them there."""
    if url is not None or repository is not None:
        raise OptionError("the task storage says where tasks are: give no url and no repository beside it")
    if task_storage.mirrors:
        return "memory://", None
    return None, cast("DurableRepository", task_storage.repository)


def _ahead(replies: Iterator[Reply[T]], count: int) -> Iterator[Reply[T]]:
    """Yield replies, so many of which are asked for before the first of them is taken."""
    asked: deque[Reply[T]] = deque()
    for reply in replies:
        asked.append(reply)
        if len(asked) >= count:
            yield asked.popleft()
    yield from asked
