"""What a scheduler is asked to do again and again, as drafts: trigger, policy and template as the store keeps them.

`Agenda` asks for them, and hands them to its book.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kokugen.acceptance import new_task, request_of, row_of
from kokugen.clock import duration_us, from_us, to_us
from kokugen.errors import OptionError
from kokugen.middleware.base import ScheduleRequest, schedule_chain
from kokugen.options import Options, check_words
from kokugen.parts import Parts
from kokugen.recurrence.cron import cron_of
from kokugen.recurrence.interval import Every
from kokugen.recurrence.spec import dump_spec, load_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.registry.protocol import Work
from kokugen.reply import Reply
from kokugen.repository.rows import NewTask
from kokugen.repository.schedule_rows import Overlap, ScheduleRow
from kokugen.schedule_options import ScheduleOptions
from kokugen.schedules.edits import Draft
from kokugen.schedules.policy import Catchup, Policy, Template
from kokugen.task import Params, TaskParam

When = Trigger | timedelta | str
"""What `every` takes: a trigger, a period of real time, or a cron expression."""

_POLICY_OF = {
    "start": "start_us",
    "end": "end_us",
    "max_runs": "max_runs",
    "jitter": "jitter_us",
    "catchup": "catchup",
    "window": "window_us",
    "misfire": "misfire_us",
    "catchup_max": "catchup_max",
    "rate": "rate",
    "failures_max": "failures_max",
}


class NewSchedule(Struct, frozen=True, kw_only=True):
    """A schedule in plain data, as `Scheduler.put_schedules` takes many of them.

    The time of `param` does not matter. `paused` says why it is not to run before it is resumed, where it is new.
    """

    when: When
    param: TaskParam
    options: ScheduleOptions
    paused: str | None = None

    def __post_init__(self) -> None:
        check_words("paused", self.paused)

    @property
    def name(self) -> str:
        """Return what it is known by."""
        return self.options.name or self.param.work_id


class Drafts:
    """Makes drafts; the template of each goes through the middleware, once. `handle()` makes what that is answered."""

    def __init__(self, parts: Parts, handle: Callable[[], object]) -> None:
        self._parts = parts
        self._handle = handle

    def of_work(
        self,
        when: When,
        work: Work,
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        owner: str | None = None,
    ) -> Draft:
        """Return a schedule of calls of work."""
        said = options.schedule or ScheduleOptions()
        request = ScheduleRequest(
            work_id=work.id,
            params=Params(args, kwargs),
            scheduled_time_us=0,
            options=replace(options, schedule=None, by=None, why=None),
            template=True,
        )
        request = self._through_middleware(request)
        param = work.encode(request.params.args, request.params.kwargs)
        task = new_task(request, "", param, request.options, self._declared_options(work), self._parts.payloads)
        return self._drafted(when, said, task, owner=owner)

    def of_param(self, when: When, param: TaskParam, said: ScheduleOptions) -> Draft:
        """Return a schedule of tasks in plain data; the work need not be declared here."""
        work = self._parts.work_of(param.work_id)
        request = request_of(param, None if work is None else work.declared)
        request = self._through_middleware(replace(request, template=True))
        declared = None if work is None else work.declared
        return self._drafted(when, said, row_of(request, "", work, declared, payloads=self._parts.payloads))

    def _drafted(self, when: When, said: ScheduleOptions, task: NewTask, owner: str | None = None) -> Draft:
        if task.unique_key is not None or task.id:
            raise OptionError("a schedule has many tasks, so that they can have no id or unique key of yours")
        name = said.name or task.work_id
        trigger = trigger_of(when, said.start or from_us(self._parts.clock.wall_us()), name)
        return Draft(
            name=name,
            owner=said.owner or owner,
            spec=dump_spec(trigger),
            policy=_json(policy_of(said)),
            template=_json(template_of(task)),
            overlap=overlap_of(trigger, Overlap(said.overlap)),
        )

    def _through_middleware(self, request: ScheduleRequest) -> ScheduleRequest:
        seen: list[ScheduleRequest] = []

        def accept(last: ScheduleRequest) -> Reply[Any]:
            seen.append(last)
            return Reply.of(self._handle())

        schedule_chain(self._parts.middleware, accept)(request)
        if len(seen) != 1:
            raise OptionError(f"a middleware did not pass the schedule of {request.work_id!r} on, once")
        if seen[0].options.then:
            raise OptionError(
                f"then=… is not for the tasks of a schedule: let {seen[0].work_id!r} schedule the chain when it runs, "
                "or leave it out here with options(then=())"
            )
        return seen[0]

    def _declared_options(self, work: Work) -> Options | None:
        known = self._parts.work_of(work.id)
        return None if known is None else known.declared

    def edited(self, draft: Draft, when: When | None, changes: dict[str, Any]) -> Draft:
        """Return a draft with another trigger, or other options of a schedule. Raises OptionError."""
        unknown = set(changes) - set(ScheduleOptions.__struct_fields__)
        if unknown:
            raise OptionError(f"a schedule has no option {min(unknown)!r} that may be edited")
        if when is not None:
            draft = replace(draft, spec=dump_spec(trigger_of(when, from_us(self._parts.clock.wall_us()), draft.name)))
        said = ScheduleOptions(**changes)
        asked = policy_of(said)
        stored = msgspec.json.decode(draft.policy, type=Policy)
        given = {_POLICY_OF[name] for name in changes if name in _POLICY_OF}
        policy = replace(stored, **{name: getattr(asked, name) for name in given})
        check_bounds(policy)
        return replace(
            draft,
            policy=_json(policy),
            overlap=overlap_of(load_spec(draft.spec), Overlap(said.overlap if "overlap" in changes else draft.overlap)),
            owner=said.owner if "owner" in changes else draft.owner,
        )


def trigger_of(when: When, now: Any, name: str) -> Trigger:
    """Return the trigger that `every` was given for the schedule of a name. Raises OptionError, TriggerError."""
    if isinstance(when, Trigger):
        return when
    if isinstance(when, timedelta):
        return Every(when, start=now)
    if isinstance(when, str):
        return cron_of(when, name)
    raise OptionError(f"every({when!r}, …): use a trigger, a timedelta or a cron expression")


def overlap_of(trigger: Trigger, overlap: Overlap) -> Overlap:
    """Return what becomes of runs that overlap. Raises OptionError where none can, and they are to."""
    if not trigger.after_completion:
        return overlap
    if overlap not in {Overlap.QUEUE_ONE, Overlap.QUEUE_ALL}:
        raise OptionError(f"overlap={overlap.value!r}: each run of {trigger!r} waits for the end of the one before")
    return Overlap.QUEUE_ALL


def template_of(task: NewTask) -> Template:
    """Return the template of tasks like this one."""
    deadline = task.start_deadline
    return Template(
        work_id=task.work_id,
        param=task.param,
        queue=task.queue,
        rank=task.rank,
        mode=task.mode,
        max_attempts=task.max_attempts,
        max_lost=task.max_lost,
        start_within_us=None if deadline is None else deadline - task.due_at,
        tags=task.tags,
        options=task.options,
        limit_key=task.limit_key,
    )


def policy_of(said: ScheduleOptions) -> Policy:
    """Return the policy of a schedule's options."""
    return Policy(
        catchup=Catchup(said.catchup),
        misfire_us=duration_us(said.misfire),
        window_us=duration_us(said.window),
        catchup_max=said.catchup_max,
        rate=said.rate,
        jitter_us=duration_us(said.jitter),
        start_us=None if said.start is None else to_us(said.start.astimezone(UTC)),
        end_us=None if said.end is None else to_us(said.end.astimezone(UTC)),
        max_runs=said.max_runs,
        failures_max=said.failures_max,
    )


def check_bounds(policy: Policy) -> None:
    """Refuse an end before the start, where an edit changes one of them alone. Raises OptionError."""
    if policy.start_us is not None and policy.end_us is not None and policy.end_us < policy.start_us:
        end, start = from_us(policy.end_us).isoformat(), from_us(policy.start_us).isoformat()
        raise OptionError(f"end={end} is before start={start}: change both, or take one away")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def as_put(draft: Draft, asked: NewSchedule, row: ScheduleRow | None) -> Draft:
    """Return a draft, a bare period of which counts on from when it was first put there."""
    counts_on = isinstance(asked.when, timedelta) and asked.options.start is None
    return counting_on(draft, [row]) if counts_on and row is not None else draft


def counting_on(draft: Draft, rows: list[ScheduleRow]) -> Draft:
    """Return a draft with the start that is stored, where nothing else of the period differs."""
    for row in rows:
        stored, asked = load_spec(row.spec), load_spec(draft.spec)
        if isinstance(stored, Every) and isinstance(asked, Every) and stored.period == asked.period:
            return replace(draft, spec=row.spec)
    return draft
