"""A task and those that follow it (the option `then`), as the rows to add in one call.

`kokugen.front` and `kokugen.within` make them. Each follower goes through the same middleware as any other task, which
works on the answer that is to come: it is given once all of them are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from kokugen.acceptance import check_work, row_of
from kokugen.clock import duration_us
from kokugen.errors import OptionError
from kokugen.middleware.base import ScheduleRequest, schedule_chain
from kokugen.options import Options, check_name
from kokugen.parts import Parts
from kokugen.registry.protocol import Work
from kokugen.reply import Reply
from kokugen.repository.rows import CHAIN_HOLD, Added, ChainedTask, NewTask, follows
from kokugen.task import Params
from kokugen.then import AFTER, CHAIN_MAX, Then


class Chain:
    """The rows of one request: the task itself, and behind it those that follow, each after the one before it."""

    def __init__(self, parts: Parts, request: ScheduleRequest, *, mirrored: bool = False) -> None:
        self._parts = parts
        if request.options.replaces and parts.payloads is not None:
            raise OptionError(
                "on_duplicate='replace' or 'preserve': what is sealed is for one task, and cannot take the place of "
                "another's; use 'refuse' or 'keep', or cancel the one that waits"
            )
        self.rows: list[NewTask] = [self._row(request, parts.work_of(request.work_id))]
        self._answers: list[Reply[Any]] = []
        if request.options.then:
            if mirrored:
                raise OptionError("then=…: a repository with the seed's methods alone cannot keep what is to follow")
            first = _chained(self.rows[0], chain=self.rows[0].id)
            self.rows[0] = first
            self._follow(first, request)

    def answered(self, handle: Callable[[NewTask], Any]) -> None:
        """Give the middleware that waits for the followers what `handle` makes of them, once they are added."""
        for row, answer in zip(self.rows[1:], self._answers, strict=True):
            answer.resolve(handle(row))

    def _follow(self, before: ChainedTask, request: ScheduleRequest) -> None:
        for then in request.options.then:
            accept = schedule_chain(self._parts.middleware, partial(self._collect, before, then))
            accept(self._request(before, then))

    def _request(self, before: ChainedTask, then: Then) -> ScheduleRequest:
        work = self._work(then)
        return ScheduleRequest(
            work_id=check_name("work id", then.work) if work is None else work.id,
            params=Params(tuple(then.args), then.kwargs),
            scheduled_time_us=before.scheduled_time,
            options=_checked(Options() if work is None else work.declared),
        )

    def _row(self, request: ScheduleRequest, work: Work | None, given: str | None = None) -> NewTask:
        declared = self._parts.work_of(request.work_id)
        return row_of(
            request,
            self._parts.ids.task_id(),
            work,
            None if declared is None else declared.declared,
            payloads=self._parts.payloads,
            given=given,
        )

    def _work(self, then: Then) -> Work | None:
        return self._parts.work_of(then.work) if isinstance(then.work, str) else check_work(then.work)

    def _collect(self, before: ChainedTask, then: Then, request: ScheduleRequest) -> Reply[Any]:
        if len(self.rows) >= CHAIN_MAX:
            raise OptionError(f"then=…: more than {CHAIN_MAX} tasks in one chain; does work follow itself?")
        if then.result is not None and self._parts.payloads is not None:
            raise OptionError(
                f"then=Then(…, result={then.result!r}): what is sealed is for one task; let the work that follows "
                "call scheduler.result(current_run().follows)"
            )
        follower = _chained(
            self._row(request, self._work(then), given=then.result),
            hold=CHAIN_HOLD,
            chain=before.chain,
            follows=before.id,
            follows_on=AFTER[then.on],
            follows_delay=duration_us(then.delay),
            follows_arg=then.result,
        )
        self.rows.append(follower)
        self._answers.append(Reply())
        answer = self._answers[-1]
        self._follow(follower, request)
        return answer


def _checked(options: Options) -> Options:
    """Return the options of a follower. Raises OptionError for those that only a task of its own can have."""
    if options.unique is not None or options.id is not None:
        name = "id" if options.unique is None else "unique"
        raise OptionError(f"then=…: work that follows another is added with it, so leave out its {name}=…")
    return options


def _chained(row: NewTask, **place: Any) -> ChainedTask:
    columns = {name: getattr(row, name) for name in NewTask.__struct_fields__}
    return ChainedTask(**columns, **place)


def batched(groups: Iterable[list[NewTask]], size: int) -> Iterator[list[NewTask]]:
    """Yield rows in batches of about so many; tasks that follow one another stay together."""
    batch: list[NewTask] = []
    for group in groups:
        batch += group
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def firsts(rows: Sequence[NewTask], answers: Sequence[Added]) -> tuple[list[NewTask], list[Added]]:
    """Return the rows, and the answers to them, without those that were added behind others."""
    pairs = [pair for pair in zip(rows, answers, strict=True) if not follows(pair[0])]
    return [row for row, _ in pairs], [answer for _, answer in pairs]
