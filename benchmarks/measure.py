"""How things are measured: every trial in a fresh process, contenders in turn, and clocks of wall and processor.

A question (`drain`, `insert`, …) names its contenders and calls `interleave`; `answer` makes figures of the trials.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from traceback import format_exc
from typing import Any, Self

from msgspec import Struct

from kokugen.cli.progress import progress

ROOT = Path(__file__).resolve().parent.parent
TRIAL_S_MAX = 300.0
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US

Values = dict[str, Any]
"""What one trial measured, by name."""

Trials = dict[str, list[Values]]
"""The trials of each contender, by its name."""


class Contender(Struct, frozen=True):
    """One of those that are compared: `call(*arguments)` is one trial of it, a function that can be imported."""

    name: str
    call: Callable[..., Values]
    arguments: tuple[Any, ...] = ()
    turns_max: int | None = None
    """No more repetitions than this; None: all."""
    optional: bool = False
    """Whether the others are told of all the same where a trial of it fails: a peer of another version, say."""


class TrialError(RuntimeError):
    """A trial that failed, with the traceback of its process."""


def interleave(question: str, contenders: Sequence[Contender], repetitions: int) -> Trials:
    """Run every contender `repetitions` times and return their trials.

    They take turns, in an order that rotates, so that what else the machine does meanwhile hits all of them.
    """
    turns = list(_turns(contenders, repetitions))
    trials: Trials = {contender.name: [] for contender in contenders}
    with progress(question, len(turns)) as bar:
        for contender in turns:
            try:
                trials[contender.name].append(fresh(contender.call, *contender.arguments))
            except TrialError as error:
                if not contender.optional:
                    raise
                print(f"{question}: {contender.name} failed, and is left out: {error}", file=sys.stderr)
            bar.advance(1)
    return {name: ones for name, ones in trials.items() if ones}


def _turns(contenders: Sequence[Contender], repetitions: int) -> Iterator[Contender]:
    for repetition in range(repetitions):
        first = repetition % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            if contender.turns_max is None or repetition < contender.turns_max:
                yield contender


def together(question: str, contenders: Sequence[Contender]) -> Trials:
    """Run one trial of every contender at the same time: only for those that hardly do anything."""
    trials: Trials = {contender.name: [] for contender in contenders}
    with progress(question, len(contenders)) as bar:
        started = [(one, _start(one.call, one.arguments)) for one in contenders]
        for contender, (process, pipe) in started:
            trials[contender.name].append(_result(contender.call, process, pipe))
            bar.advance(1)
    return trials


def fresh(call: Callable[..., Values], *arguments: Any) -> Values:
    """Call a function in a fresh process and return what it returns. Raises TrialError."""
    return _result(call, *_start(call, arguments))


def _start(call: Callable[..., Values], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    context = get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, call, arguments))
    process.start()
    theirs.close()
    return process, mine


def _result(call: Callable[..., Values], process: Any, pipe: Connection) -> Values:
    try:
        if not pipe.poll(TRIAL_S_MAX):
            raise TrialError(f"{call.__name__} did not end within {TRIAL_S_MAX:.0f} s")
        values, failure = pipe.recv()
    except EOFError as error:
        raise TrialError(f"the process of {call.__name__} died") from error
    finally:
        process.join(5)
        process.kill()
        process.join()
    if failure:
        raise TrialError(failure)
    found: Values = values
    return found


def _answer(pipe: Connection, call: Callable[..., Values], arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send((call(*arguments), None))
    except BaseException:  # noqa: BLE001 - it is told where the trial was asked for
        pipe.send((None, format_exc()))


class Stopwatch:
    """How long a block took, on the wall and of this process's processor time."""

    wall_s = 0.0
    cpu_s = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._start[0]
        self.cpu_s = time.process_time() - self._start[1]

    def per_task(self, count: int) -> Values:
        """Return the rate, and the processor time of one of `count` tasks."""
        return {"rate": count / self.wall_s, "cpu_us": self.cpu_s / count * 1e6}


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of all do not exceed."""
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def memory_mb() -> float | None:
    """Return the most memory that this process ever had, in MB; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@contextmanager
def store_folder() -> Iterator[Path]:
    """Make a folder for stores on the project's own disk (a temporary folder may be in memory), and remove it."""
    place = ROOT / ".cache"
    place.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="benchmark-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def wall_us() -> int:
    """Return the wall clock as kokugen reads it."""
    return time.time_ns() // 1000
