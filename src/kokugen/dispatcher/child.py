"""A process of this node that runs work, one run at a time: `Child` in the node, `serve` in the process itself.

`kokugen.dispatcher.processes` keeps a few. They talk through a pipe, whose end either side's death closes: a process
whose node dies ends at once, and a node whose process dies knows that this one run is over.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from kokugen.clock import SystemClock
from kokugen.dispatcher.crossing import Account, Order, order_of, perform
from kokugen.dispatcher.pacer import Cancellable
from kokugen.dispatcher.reference import reference_of
from kokugen.errors import WorkerDiedError
from kokugen.process import CHILD_NAME
from kokugen.run import Interrupt, Run, Signal

READY = b"ready"
JOIN_S = 10.0
"""How long the system may take to tell how a process ended whose pipe is closed."""

Later = Callable[[Callable[[], object]], Cancellable]
"""Has a function called after the time that a process has to obey."""

_SPAWN = multiprocessing.get_context("spawn")


class Begin(Struct, frozen=True, tag=True):
    """Perform this."""

    number: int
    order: Order


class Stop(Struct, frozen=True, tag=True):
    """Ask the run with this number to stop."""

    number: int
    interrupt: Interrupt
    reason: str


class Stopping(Struct, frozen=True, tag=True):
    """The scheduler is stopping."""

    reason: str


_Message = Begin | Stop | Stopping


class Child:
    """The node's end. One thread performs runs; any thread may have them stopped."""

    def __init__(self, number: int, memory_max: int | None) -> None:
        self.served = 0
        self._ours, its = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=serve, args=(its, memory_max), name=f"{CHILD_NAME}{number}")
        self._process.start()
        its.close()
        self._ready = False
        self._number: int | None = None
        self._killed = False
        self._lock = Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Return whether it can perform another run."""
        return self._process.is_alive()

    def perform(self, run: Run, later: Later) -> Account:
        """Have it perform this run, and wait. Once asked to stop it has some time to obey, and then is killed.

        Raises WorkerDiedError where it dies before the run is over; TimeoutError or CancelledError where it is killed.
        """
        order = order_of(run, reference_of(run.work))
        _ = run.cancelled  # from here on the reason is kept, too
        number = self.served = self.served + 1
        killing: list[Cancellable] = []

        def stop(run: Run) -> None:
            self._stop(number, run)
            killing.append(later(lambda: self._kill(number)))

        self._number, self._killed = number, False
        try:
            self._send(Begin(number, order))
            run.when_interrupted(stop)
            account = msgspec.json.decode(self._received(), type=Account)
        except (EOFError, OSError):
            self._raise_death(run)
        finally:
            run.on_interrupt = None
            with self._lock:
                self._number = None
            for one in killing:
                one.cancel()
        return account

    def tell_stopping(self, reason: str) -> None:
        """Tell it that the scheduler is stopping."""
        with suppress(OSError):
            self._send(Stopping(reason))

    def close(self) -> None:
        """Let it end where it is idle, kill it where it is not."""
        with self._lock:
            if self._number is None:
                self._ours.close()
            else:
                self._kill_family()

    def _received(self) -> bytes:
        """Return its account; before the first one it says that it is ready."""
        if not self._ready:
            self._ours.recv_bytes()
            self._ready = True
        return self._ours.recv_bytes()

    def _send(self, message: _Message) -> None:
        with self._lock:
            self._ours.send_bytes(msgspec.json.encode(message))

    def _stop(self, number: int, run: Run) -> None:
        interrupt = run.interrupt
        assert interrupt is not None, "it was asked to stop"
        with suppress(OSError):
            self._send(Stop(number, interrupt, run.cancelled.reason or interrupt.value))

    def _kill(self, number: int) -> None:
        """Kill it, and all that it started, where this run is still under way."""
        with self._lock:
            if self._number == number:
                self._killed = True
                self._kill_family()

    def _kill_family(self) -> None:
        if sys.platform != "win32" and self._process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def _raise_death(self, run: Run) -> NoReturn:
        self._kill_family()  # while its pid is still its own
        self._process.join(JOIN_S)
        if self._killed and run.interrupt is Interrupt.TIMEOUT:
            raise TimeoutError("its process was killed: the work went on after its time was over")
        if self._killed:
            raise asyncio.CancelledError("its process was killed: the work went on after it was asked to stop")
        how = _ended_how(self._process.exitcode)
        when = "before the work was over" if self._ready else "before it could begin: see what it wrote to stderr"
        raise WorkerDiedError(f"the process of work {run.work_id!r} {how} {when}")


def _ended_how(code: int | None) -> str:
    if code is None:
        return "went silent"
    if code >= 0:
        return f"exited with {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"was ended by signal {name}"


# -- In the process


def serve(pipe: Connection, memory_max: int | None) -> None:
    """Perform what comes through the pipe until it ends."""
    _settle_in(memory_max)
    with suppress(BrokenPipeError):  # the node does not wait for it any more
        _Server(pipe).serve()


def _settle_in(memory_max: int | None) -> None:
    """Be a group of its own, which no terminal signals and which is killed as one; leave it to the node to stop."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, lambda *_: None)
        return
    os.setsid()
    if memory_max is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory_max, resource.getrlimit(resource.RLIMIT_DATA)[1]))


class _Server:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._orders: SimpleQueue[Begin | None] = SimpleQueue()
        self._stopping = Signal()
        self._run: Run | None = None
        self._number = 0
        self._busy = False
        self._asked: Stop | None = None
        self._lock = Lock()

    def serve(self) -> None:
        Thread(target=self._listen, name="kokugen-pipe", daemon=True).start()
        self._pipe.send_bytes(READY)
        clock = SystemClock()
        while (begin := self._orders.get()) is not None:
            reference = begin.order.work
            assert reference is not None, "a node says where its work is found"
            account = perform(begin.order, reference.load, clock, stopping=self._stopping, begun=self._begun)
            with self._lock:
                self._run = None
            self._pipe.send_bytes(msgspec.json.encode(account))
            self._busy = False

    def _begun(self, run: Run) -> None:
        with self._lock:
            self._run = run
            asked = self._asked
        if asked is not None and asked.number == self._number:
            run.ask_to_stop(asked.interrupt, asked.reason)

    def _listen(self) -> None:
        try:
            while True:
                self._take(msgspec.json.decode(self._pipe.recv_bytes(), type=_Message))
        except (EOFError, OSError):
            if self._busy:  # the node is gone: nobody would hear of it
                os._exit(1)
            self._orders.put(None)

    def _take(self, message: Any) -> None:
        match message:
            case Begin():
                self._number, self._busy = message.number, True
                self._orders.put(message)
            case Stop():
                with self._lock:
                    self._asked, run = message, self._run
                if run is not None and message.number == self._number:
                    run.ask_to_stop(message.interrupt, message.reason)
            case Stopping():
                self._stopping.set(message.reason)
