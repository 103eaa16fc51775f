"""From what a caller asks for to the row that is stored: times checked, options resolved, arguments encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from kokugen.clock import YEARS, duration_us, to_us
from kokugen.codec import encode_params
from kokugen.dispatcher.place import Place
from kokugen.errors import NonexistentWorkIdError, OptionError, ScheduledTimeError
from kokugen.limit import Limit
from kokugen.middleware.base import ScheduleRequest
from kokugen.middleware.payloads import Payloads
from kokugen.options import Options, StoredOptions, check_headers, check_name, check_place
from kokugen.registry import work as made
from kokugen.registry.protocol import Work
from kokugen.repository.rows import NewTask
from kokugen.retry import StoredRetry
from kokugen.task import QUEUE_DEFAULT, Params, TaskParam, queue_at

DELAY_MAX = timedelta(days=366 * 1000)
QUEUES_MAX = 100
LABEL_MAX = 200
OPTION_NAMES = TaskParam.__struct_fields__[TaskParam.__struct_fields__.index("id") :]
"""The fields of `TaskParam` that are options; they stand at its end."""
NO_OPTIONS = (None,) * len(OPTION_NAMES)


def check_time(when: datetime) -> tuple[int, str | None, str | None]:
    """Return an instant in microseconds, and its zone and local time where it has a named zone.

    Raises ScheduledTimeError for a naive datetime, and for a local time that its zone skips.
    """
    if not isinstance(when, datetime):
        raise ScheduledTimeError(f"{when!r} is not a datetime: use datetime(…, tzinfo=ZoneInfo('Europe/Berlin'))")
    if when.utcoffset() is None:
        raise ScheduledTimeError(
            f"{when.isoformat()} has no time zone: write datetime(…, tzinfo=ZoneInfo('Europe/Berlin')) or tzinfo=UTC"
        )
    if when.year not in YEARS:
        raise ScheduledTimeError(f"{when.isoformat()} is out of range: use the years 1970 to 8999")
    us, zone = to_us(when), when.tzinfo
    if zone is UTC:
        return us, None, None
    local = when.replace(tzinfo=None).isoformat()
    if _is_skipped(when):
        raise ScheduledTimeError(f"{local} does not exist in {zone}: clocks skip it")
    if not isinstance(zone, ZoneInfo) or zone.key in {"UTC", None}:
        return us, None, None
    return us, zone.key, f"{local}/{when.fold}" if when.fold else local


def _is_skipped(when: datetime) -> bool:
    """Return whether the clocks of its zone never show this local time: then there and back leads elsewhere."""
    zone = when.tzinfo
    if zone is None or isinstance(zone, timezone):
        return False
    try:
        back = when.astimezone(UTC).astimezone(zone)
    except (ValueError, NotImplementedError):  # a class of a user's, which knows the one way only
        return False
    return back.replace(tzinfo=None, fold=0) != when.replace(tzinfo=None, fold=0)


def check_delay(delay: timedelta) -> int:
    """Return a delay in microseconds. Raises ScheduledTimeError unless it is a timedelta of 0 to 1,000 years."""
    if not isinstance(delay, timedelta):
        raise ScheduledTimeError(f"{delay!r} is not a timedelta: use timedelta(minutes=5)")
    if not timedelta(0) <= delay <= DELAY_MAX:
        raise ScheduledTimeError(f"a delay of {delay} is out of range: use 0 to 1,000 years")
    return duration_us(delay)


def request_of(param: TaskParam, declared: Options | None) -> ScheduleRequest:
    """Return the request for plain data, with the declared options where it gives none."""
    us, zone, local = check_time(param.scheduled_time)
    values = astuple(param)[-len(OPTION_NAMES) :]
    given: dict[str, Any] = {}
    if values != NO_OPTIONS:
        given = {name: value for name, value in zip(OPTION_NAMES, values, strict=True) if value is not None}
    base = declared or Options()
    return ScheduleRequest(
        work_id=check_name("work id", param.work_id),
        params=Params.of(param.param),
        scheduled_time_us=us,
        options=base.merged(**given) if given else base,
        zone=zone,
        local_time=local,
    )


def row_of(
    request: ScheduleRequest,
    task_id: str,
    work: Work | None,
    declared: Options | None,
    *,
    payloads: Payloads | None,
    given: str | None = None,
) -> NewTask:
    """Return the row to add. Arguments are checked against the work's signature where the work is known here.

    `declared` is what every node knows of the work; what the request has besides is stored with the task. `given` names
    an argument that the task gets later.
    """
    params, options = request.params, request.options
    if work is None or request.freed or (given is not None and not isinstance(work, made.Work)):
        text = encode_params(params)
    elif given is not None and isinstance(work, made.Work):
        text = work.encode_but(given, params.args, params.kwargs)
    else:
        text = work.encode(params.args, params.kwargs)
    return new_task(request, task_id, text, options, declared, payloads)


def new_task(
    request: ScheduleRequest,
    task_id: str,
    param: str,
    options: Options,
    declared: Options | None,
    payloads: Payloads | None,
) -> NewTask:
    """Return the row of a request whose arguments are encoded; `payloads` seals them."""
    us, task_id = request.scheduled_time_us, options.id or task_id
    if payloads is not None and not request.freed:
        param = payloads.seal_param(task_id, request.work_id, param)
    return NewTask(
        id=task_id,
        work_id=request.work_id,
        due_at=us,
        scheduled_time=us,
        param=param,
        start_deadline=None if options.start_within is None else us + duration_us(options.start_within),
        zone=request.zone,
        local_time=request.local_time,
        **_columns(options, declared, request.headers),
    )


class Intake:
    """Makes the rows of many tasks in plain data, where no middleware is: what those of one work share is made once."""

    def __init__(
        self,
        work_of: Callable[[str], Work | None],
        task_id: Callable[[], str],
        rows_of: Callable[[ScheduleRequest], list[NewTask]],
    ) -> None:
        self._work_of = work_of
        self._task_id = task_id
        self._rows_of = rows_of
        self._kinds: dict[str, _Kind] = {}

    def rows(self, param: TaskParam) -> list[NewTask]:
        """Return what `rows_of` returns for the request of `param`."""
        kind = self._kinds.get(check_param(param).work_id) or self._learn(param.work_id)
        if kind.columns is None or astuple(param)[-len(OPTION_NAMES) :] != NO_OPTIONS:
            return self._rows_of(request_of(param, kind.declared))
        us, zone, local = check_time(param.scheduled_time)
        params = Params.of(param.param)
        row = NewTask(
            id=self._task_id(),
            work_id=param.work_id,
            due_at=us,
            scheduled_time=us,
            param=encode_params(params) if kind.work is None else kind.work.encode(params.args, params.kwargs),
            zone=zone,
            local_time=local,
            **kind.columns,
        )
        return [row]

    def _learn(self, work_id: str) -> _Kind:
        work = self._work_of(check_name("work id", work_id))
        declared = None if work is None else work.declared
        options = declared or Options()
        differ = options.start_within is not None or options.then
        kind = self._kinds[work_id] = _Kind(work, declared, None if differ else _columns(options, declared, {}))
        return kind


class _Kind(Struct, frozen=True):
    """Work, and the columns that are the same for all its tasks without options of their own; None: not all are."""

    work: Work | None
    declared: Options | None
    columns: dict[str, Any] | None


def _columns(options: Options, declared: Options | None, headers: dict[str, str]) -> dict[str, Any]:
    """Return the columns that depend on nothing but the options and headers."""
    return {
        "queue": queue_at(options.queue, options.on),
        "rank": -options.priority,
        "mode": options.mode,
        "max_attempts": options.max_attempts,
        "max_lost": options.max_lost,
        "unique_key": options.unique,
        "limit_key": options.limit_key,
        "on_duplicate": options.on_duplicate,
        "tags": _json(options.tags) if options.tags else None,
        "options": _own(options, declared, headers),
    }


def _own(options: Options, declared: Options | None, headers: dict[str, str]) -> str | None:
    """Return what this task was given besides its work's declaration, to be stored with it."""
    retry = options.retry if declared is None or options.retry != declared.retry else None
    timeout = options.timeout if declared is None or options.timeout != declared.timeout else None
    if retry is None and timeout is None and not headers:
        return None
    return _json(
        StoredOptions(
            retry=None if retry is None else StoredRetry.of(retry),
            timeout_us=None if timeout is None else duration_us(timeout),
            headers=check_headers(headers),
        )
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def check_work(work: object) -> Work:
    """Return `work`, or raise NonexistentWorkIdError saying how to declare it."""
    if isinstance(work, made.Work) or isinstance(work, Work):  # noqa: SIM101 - the protocol is slow to ask
        return work
    name = getattr(work, "__name__", None) or repr(work)
    raise NonexistentWorkIdError(name, "put @scheduler.work above it, or use schedule(TaskParam(…))")


def check_queues(queues: Sequence[str]) -> tuple[str, ...]:
    """Return the queues to serve, each once; without any the default one."""
    if isinstance(queues, str):
        raise OptionError(f"queues={queues!r}: use a list of names")
    names = tuple(dict.fromkeys(check_name("queue", queue) for queue in queues))
    if len(names) > QUEUES_MAX:
        raise OptionError(f"{len(names)} queues: one scheduler serves at most {QUEUES_MAX}; use several")
    return names or (QUEUE_DEFAULT,)


def check_queue_limits(limits: Mapping[str, Limit | None]) -> dict[str, Limit | None]:
    """Return the limits of queues. Raises OptionError."""
    if not isinstance(limits, Mapping):
        raise OptionError(f"queue_limits={limits!r}: use a mapping such as {{'mail': Limit(10)}}")
    for queue, limit in limits.items():
        check_name("queue", queue)
        if not isinstance(limit, Limit | None):
            raise OptionError(f"queue_limits: {limit!r} for {queue!r}; use Limit(…), or None to have none any more")
    return dict(limits)


def check_label(label: str) -> str:
    """Return what a node is called for people: 1 to 200 characters that can be printed. Raises OptionError."""
    if not isinstance(label, str) or not 1 <= len(label) <= LABEL_MAX or not label.isprintable():
        raise OptionError(f"label={label!r}: use 1 to {LABEL_MAX} characters that can be printed")
    return label


def check_wait(name: str, span: timedelta | None) -> float | None:
    """Return seconds to wait; None stays None. Raises OptionError unless it is a timedelta of 0 or more."""
    if span is None:
        return None
    if not isinstance(span, timedelta) or span < timedelta(0):
        raise OptionError(f"{name}={span!r}: use a timedelta of at least 0, such as timedelta(seconds=5), or None")
    return span.total_seconds()


def check_param(param: TaskParam) -> TaskParam:
    """Return what is to be scheduled. Raises OptionError unless it is a TaskParam."""
    if not isinstance(param, TaskParam):
        raise OptionError(f"{param!r} is no TaskParam: use TaskParam(work_id=…, scheduled_time=…, param=…)")
    return param


def check_params(params: Iterable[TaskParam]) -> Iterable[TaskParam]:
    """Return what is to be scheduled together. Raises OptionError unless it can be gone through, as a list can."""
    if not isinstance(params, Iterable):
        raise OptionError(f"{params!r} is no list of TaskParam: use [TaskParam(work_id=…, scheduled_time=…), …]")
    return params


def check_places(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return the places that a scheduler offers. Raises OptionError for what is none, or for two of one name."""
    names: set[str] = set()
    if not isinstance(places, Sequence):
        raise OptionError(f"places={places!r}: use a list of places, such as [Processes(workers=4)]")
    for place in places:
        if not isinstance(place, Place):
            raise OptionError(f"places={places!r}: use a list of places, such as [Processes(workers=4)]")
        if check_place(place.name) in names:
            raise OptionError(f"two places are called {place.name!r}: give one of them another name")
        names.add(place.name)
    return tuple(places)


def check_workers(name: str, value: int) -> int:
    """Return a number of workers to have, or to add or remove. Raises OptionError."""
    if not isinstance(value, int) or not 1 <= value <= 10_000:
        raise OptionError(f"{name}={value!r}: use 1 to 10,000")
    return value
