"""Nodes in virtual time: the real engine and task storage, work run in line, and lines to the store that may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any, TypeVar

from kokugen.clock import SECOND_US, Clock, to_us
from kokugen.codec import encode_params
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.engine.engine import Engine
from kokugen.engine.hooks import Hooks, RunEvent
from kokugen.ids import IdSource
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.protocol import WorkRegistry
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import NewTask
from kokugen.run import Interrupt, Run, current_run
from kokugen.settings import Settings
from kokugen.task import Attempt, NodeInfo, Params, TaskInfo, TaskQuery, TaskState
from kokugen.task_storage.leasing import LeasedTasks
from kokugen.testing import FaultyRepository, InlineDispatcher, VirtualClock, run_virtual

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
START_US = to_us(START)
QUEUES = ("default",)
ALL = TaskQuery(limit=1000)


class Line(FaultyRepository):
    """A node's line to the store: besides failing, it can be slow, fall silent, and lose hints. `asked` is its log."""

    def __init__(self, repository: DurableRepository, clock: Clock) -> None:
        super().__init__(repository)
        self.asked: list[tuple[str, float]] = []
        self.silent: set[str] = set()
        """Methods that are never answered, and whose call never arrives."""
        self.slow_s: dict[str, float] = {}
        """Methods whose answers take so long to come back."""
        self.deaf = False
        self._clock = clock

    def _ask(self, verb: str, call: Callable[[], Reply[T]]) -> Reply[T]:
        self.asked.append((verb, self._clock.boot_s()))
        if verb in self.silent:
            return Reply()
        answer = super()._ask(verb, call)
        return _later(answer, self.slow_s[verb]) if verb in self.slow_s else answer

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        return super().listen(lambda due_us: None if self.deaf else hint(due_us))

    def times(self, verb: str) -> list[float]:
        """When this was asked, on the boot clock."""
        return [at_s for one, at_s in self.asked if one == verb]


def _later(answer: Reply[T], delay_s: float) -> Reply[T]:
    late: Reply[T] = Reply()

    def arrive() -> None:
        try:
            late.resolve(answer.peek())
        except Exception as error:
            late.fail(error)

    asyncio.get_running_loop().call_later(delay_s, arrive)
    return late


class HeardHooks(Hooks):
    """Hooks that only remember what they were told: virtual time is for one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, RunEvent]] = []

    def wants(self, name: str) -> bool:
        return True

    def tell(self, name: str, event: RunEvent) -> None:
        self.heard.append((name, event))

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


def node_info(name: str) -> NodeInfo:
    """A node of a host of its own, which nobody else can look into: only its beats tell that it is alive."""
    return NodeInfo(
        node_id=name, label=name, host=name, boot_id="", pid=1, pid_namespace="", pid_started=1, version="test"
    )


class Node:
    """One engine on its line to the store."""

    def __init__(
        self,
        clock: Clock,
        store: DurableRepository,
        works: WorkRegistry,
        *,
        name: str = "node",
        workers: int = 100,
        dispatchers: Sequence[Dispatcher] | None = None,
        settings: Settings | None = None,
        seed: int = 1,
        should_restore: Callable[[TaskInfo], bool] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.hooks = HeardHooks()
        self.line = Line(store, clock)
        self.storage = LeasedTasks(
            self.line,
            node=node_info(name),
            clock=clock,
            ids=IdSource(clock, Random(seed)),
            settings=self.settings,
            should_restore=should_restore,
        )
        self.engine = Engine(
            self.storage,
            dispatchers or [InlineDispatcher(workers, clock=clock)],
            works,
            queues=QUEUES,
            clock=clock,
            random=Random(seed),
            settings=self.settings,
            hooks=self.hooks,
        )
        self._ended: asyncio.Task[bool] | None = None

    async def start(self) -> None:
        """Start it and return once it runs. Raises what kept it from starting."""
        running = asyncio.Event()
        self._ended = asyncio.create_task(self.engine.run(running.set), name="engine")
        waiting = asyncio.create_task(running.wait())
        await asyncio.wait([waiting, self._ended], return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            self._ended.result()

    async def stop(self, grace_s: float = 20.0) -> bool:
        """Stop it and return whether everything that it started has ended."""
        assert self._ended is not None
        self.engine.request_stop(grace_s)
        return await self._ended

    async def crash(self) -> None:
        """End it as a power cut would: not one more call of it reaches the store, and its work goes no further."""
        assert self._ended is not None
        self.line.down = True
        cut_off = list(self.engine.runs.values())
        self._ended.cancel()
        await asyncio.wait([self._ended])
        for run in cut_off:
            run.ask_to_stop(Interrupt.STOP)

    @property
    def running(self) -> int:
        """How many runs it holds, started or not."""
        return len(self.engine.runs)


class Ledger:
    """What work did: the runs that started and ended, and when, in seconds of virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.starts: list[tuple[str, float]] = []
        self.ends: list[tuple[str, float]] = []
        self.runs: list[Run] = []

    @property
    def now_s(self) -> float:
        return (self._clock.wall_us() - START_US) / SECOND_US

    def start(self) -> Run:
        run = current_run()
        self.runs.append(run)
        self.starts.append((run.task_id, self.now_s))
        return run

    def end(self) -> None:
        self.ends.append((current_run().task_id, self.now_s))

    def started(self, task_id: str) -> list[float]:
        """When the runs of this task started."""
        return [at_s for one, at_s in self.starts if one == task_id]


class Lab:
    """A virtual bench: one memory repository, some works, and any number of nodes on it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.store = MemoryRepository(clock=clock, ids=IdSource(clock, Random(0)))
        self.works = FunctionRegistry()
        self.ledger = Ledger(clock)
        self.nodes: list[Node] = []
        self._numbers = count(1)
        _declare(self.works, self.ledger)

    async def node(self, **about: Any) -> Node:
        """Start a node on this store."""
        works = about.pop("works", self.works)
        about.setdefault("name", f"node-{len(self.nodes) + 1}")
        about.setdefault("seed", len(self.nodes) + 1)
        node = Node(self.clock, self.store, works, **about)
        self.nodes.append(node)
        await node.start()
        return node

    def add(self, work_id: str = "note", *args: Any, after_s: float = 0.0, **about: Any) -> str:
        """Add a task that is due in so many seconds, and return its id."""
        about.setdefault("id", f"task-{next(self._numbers):04}")
        due = self.clock.wall_us() + round(after_s * SECOND_US)
        param = encode_params(Params(args))
        task = NewTask(work_id=work_id, due_at=due, scheduled_time=due, param=param, **about)
        self.store.add([task]).peek()
        return task.id

    def add_many(self, number: int, work_id: str = "note", *args: Any, **about: Any) -> list[str]:
        return [self.add(work_id, *args, **about) for _ in range(number)]

    def info(self, task_id: str) -> TaskInfo:
        (info,) = self.store.get([task_id]).peek()
        return info

    def state(self, task_id: str) -> TaskState:
        return self.info(task_id).state

    def states(self, task_ids: Iterable[str]) -> set[TaskState]:
        return {self.state(task_id) for task_id in task_ids}

    def attempts(self, task_id: str) -> list[Attempt]:
        return self.store.attempts(task_id).peek()

    def outcomes(self, task_id: str) -> list[str]:
        return [attempt.outcome for attempt in self.attempts(task_id)]

    def infos(self) -> list[TaskInfo]:
        return self.store.page(ALL).peek()


def _declare(works: FunctionRegistry, ledger: Ledger) -> None:
    @works.work
    async def note() -> None:
        ledger.start()
        ledger.end()

    @works.work
    async def last(seconds: float) -> None:
        ledger.start()
        await asyncio.sleep(seconds)
        ledger.end()

    @works.work
    async def hang() -> None:
        ledger.start()
        await asyncio.Event().wait()

    @works.work
    async def fail() -> None:
        ledger.start()
        raise ValueError("no")


def virtually(main: Callable[[Lab], Coroutine[Any, Any, T]]) -> T:
    """Run `main(lab)` in virtual time, and return what it returns."""

    async def whole(clock: VirtualClock) -> T:
        return await main(Lab(clock))

    return run_virtual(whole, start=START)


def later(seconds: float) -> Coroutine[Any, Any, None]:
    """Let virtual time pass."""
    return asyncio.sleep(seconds)
