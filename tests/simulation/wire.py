"""A process's way to the store: it takes its time both ways, and may lose, hold up or cut off whatever goes over it.

Hints come back over it too; they may be lost, come twice, or late and in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import TypeVar

from kokugen.errors import KokugenError, RepositoryUnavailableError, UnknownOutcomeError
from kokugen.reply import Reply
from kokugen.repository.protocol import DurableRepository
from kokugen.testing import FaultyRepository
from tests.simulation.judge import Judge
from tests.simulation.world import World

T = TypeVar("T")


class Wire(FaultyRepository):
    """`lost` says what goes wrong with a call, one of these by chance: `request`, `answer`, `silence`, or nothing."""

    def __init__(self, store: DurableRepository, world: World, judge: Judge, name: str, seed: float) -> None:
        super().__init__(store)
        self.name = name
        self.lost: tuple[str, ...] = ()
        self.only: Collection[str] = ()
        """The methods that it happens to; none named: all."""
        self.slow_s = 0.0
        """So long may a request be under way: longer than anyone waits for it."""
        self.hints: tuple[str, ...] = ()
        """What becomes of a hint, one of these by chance: `lost`, `twice`, `late`, or nothing."""
        self.calm = False
        """Nothing takes longer than it should."""
        self.fuse: int | None = None
        """So many more calls, and the power is cut."""
        self.cut: Callable[[], object] = lambda: None
        self.dead = False
        """The process is gone: what it has sent may still arrive, and no answer does."""
        self._world = world
        self._judge = judge
        self._random = Random(seed)
        self._sent_s = {False: 0.0, True: 0.0}

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        """Have this machine hear of what is due, when it takes its next step."""

        def hear(due_us: int) -> None:
            if not self.dead:
                hint(due_us)

        def pass_on(due_us: int) -> None:
            fate = self._random.choice(self.hints) if self.hints else ""
            if fate:
                self._judge.happened[f"hint {fate}"] += 1
            if fate == "lost":
                return
            for _ in range(2 if fate == "twice" else 1):
                delay_s = self._random.uniform(0.01, 2) if fate in ("late", "twice") else 0.001
                self._world.after(delay_s, lambda: hear(due_us))

        return super().listen(pass_on)

    def _ask(self, verb: str, call: Callable[[], Reply[T]]) -> Reply[T]:
        answer: Reply[T] = Reply()
        if self.dead:
            return answer
        if self._burns_down() and self._random.random() < 0.5:
            self.cut()
            return answer
        lost = self._random.choice(self.lost) if self.lost and (not self.only or verb in self.only) else ""
        if lost:
            self._judge.happened[f"lost {lost}"] += 1
        if lost == "request":
            error = RepositoryUnavailableError(f"{verb} was lost on its way")
            self._world.after(self._delay_s(), lambda: self._settle(answer, Reply.failed(error)))
        else:
            urgent = verb == "beat"  # on a connection of its own, or at the head of the queue
            self._sent_s[urgent] = max(self._sent_s[urgent], self._world.now_s + self._request_s())
            self._world.at(self._sent_s[urgent], lambda: self._arrive(verb, call, answer, lost))
        if self.fuse == 0:
            self.cut()
        return answer

    def _burns_down(self) -> bool:
        if self.fuse is not None:
            self.fuse = max(0, self.fuse - 1)
        return self.fuse == 0

    def _arrive(self, verb: str, call: Callable[[], Reply[T]], answer: Reply[T], lost: str) -> None:
        done = call()
        self._when_done(verb, done)
        if lost == "silence":
            return

        def come_back() -> None:
            told = Reply.failed(UnknownOutcomeError(verb)) if lost == "answer" else done
            self._world.after(self._delay_s(), lambda: self._settle(answer, told))

        done.when_done(come_back)

    def _when_done(self, verb: str, done: Reply[T], judge: Callable[[T], object] = lambda _: None) -> None:
        """Have the judge look at what a call changed, as soon as it did, and at its answer."""

        def look() -> None:
            self.look(verb)
            try:
                judge(done.peek())
            except KokugenError:
                return
            except Exception as error:
                self._judge.stumble(error)

        done.when_done(look)

    def look(self, verb: str) -> None:
        """Have the judge look at what was committed."""
        try:
            self._judge.look(verb, self.name)
        except Exception as error:
            self._judge.stumble(error)

    def _settle(self, answer: Reply[T], done: Reply[T]) -> None:
        if self.dead:
            return
        try:
            answer.resolve(done.peek())
        except Exception as error:
            answer.fail(error)

    def _request_s(self) -> float:
        if self.slow_s and self._random.random() < 0.5:
            self._judge.happened["slow call"] += 1
            return self._random.uniform(0, self.slow_s)
        return self._delay_s()

    def _delay_s(self) -> float:
        """Mostly a millisecond or two, sometimes a while, seldom longer than anyone waits."""
        drawn = self._random.random()
        if drawn < 0.9 or self.calm:
            return 0.003 * drawn
        return 0.3 * self._random.random() if drawn < 0.995 else 3 * self._random.random()
