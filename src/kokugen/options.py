"""What can be said of a work or of one task besides its time and arguments. Rides on the work: `work.options(…)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, TypedDict, Unpack

import msgspec
from msgspec import Meta, Struct

from kokugen.clock import duration_us
from kokugen.errors import LimitExceededError, OptionError
from kokugen.limit import Limit
from kokugen.retry import Retry, StoredRetry
from kokugen.schedule_options import ScheduleChanges, ScheduleOptions
from kokugen.task import MAX_LOST_DEFAULT, QUEUE_DEFAULT, Mode, ModeName, OnDuplicate, OnDuplicateName, Priority
from kokugen.then import Then

NAME = re.compile(r"[A-Za-z0-9_.:\-]{1,200}")
TAGS_MAX = 20
UNIQUE_MAX = 200
KINDS = ("threads", "asyncio")
"""Where work runs that names no place."""
BY_MAX = 200
WORDS_MAX = 1000
SHOWN_MAX = 100
TIMEOUT_MAX = timedelta(days=30)
HEADERS_MAX = 8 * 1024
"""Bytes of a task's headers, as JSON."""


class TaskOptions(TypedDict, total=False):
    """The options that a work's declaration and `options(…)` have in common."""

    queue: str
    priority: int
    unique: str | None
    tags: tuple[str, ...]
    mode: ModeName | Mode
    retry: Retry | None
    timeout: timedelta | None
    start_within: timedelta | None
    max_lost: int
    then: Then | tuple[Then, ...] | None
    on: str | None
    limit_key: str | None
    on_duplicate: OnDuplicateName | OnDuplicate


class DeclaredOptions(TaskOptions, total=False):
    """The options that are keywords of a work's declaration, where `id` is the work's."""

    limit: Limit | None
    key_limit: Limit | None


class OptionChanges(TaskOptions, ScheduleChanges, total=False):
    """The keywords of `options(…)`, where `id` is the task's, and `name` and those after it are a schedule's."""

    id: str | None


class AnyOption(OptionChanges, DeclaredOptions, total=False):
    """All of them."""


class Options(Struct, frozen=True, kw_only=True):
    """The options of a work, or of one task; every value was checked.

    `id` chooses the task's id. `unique` refuses a second live task with the same key, or does with it what
    `on_duplicate` says. `retry=None` is one attempt.
    `timeout` asks a run to stop that takes longer. `start_within` gives up on a start later than that after its due
    time (reason `expired`). `max_lost` ends a task whose runs were cut off that often (poison). `on` is the place where
    it runs, such as `processes`; None: on a thread, or async work on an event loop. `then` says which tasks follow its
    end. Of tasks with the same `limit_key` one runs at a time, or as many as the work's `key_limit` says; `limit` is of
    all the work's tasks. `by` and `why` stay in the audit of the schedule that is made or edited.
    """

    id: str | None = None
    queue: str = QUEUE_DEFAULT
    priority: Priority = Priority.NORMAL
    unique: str | None = None
    tags: tuple[str, ...] = ()
    mode: Mode = Mode.AT_LEAST_ONCE
    retry: Retry | None = None
    timeout: timedelta | None = None
    start_within: timedelta | None = None
    max_lost: int = MAX_LOST_DEFAULT
    then: tuple[Then, ...] = ()
    on: str | None = None
    limit_key: str | None = None
    on_duplicate: OnDuplicate = OnDuplicate.REFUSE
    limit: Limit | None = None
    key_limit: Limit | None = None
    schedule: ScheduleOptions | None = None
    """What was said of a schedule; a task has no use for it, nor for who puts the schedule, and why."""
    by: str | None = None
    why: str | None = None

    @property
    def max_attempts(self) -> int:
        return self.retry.attempts if self.retry else 1

    @property
    def replaces(self) -> bool:
        """Return whether it may take the place of a task that waits, which keeps its id."""
        return self.unique is not None and self.on_duplicate >= OnDuplicate.REPLACE

    def changed(self, **changes: Unpack[OptionChanges]) -> Options:
        """Return the options of one task or schedule: these with some changed. As `merged`, but for a work's own."""
        if own := {"limit", "key_limit"} & set(changes):
            raise OptionError(
                f"{min(own)} is of the work, not of one task: declare it, @scheduler.work({min(own)}=Limit(…))"
            )
        return self.merged(**changes)

    def merged(self, **changes: Unpack[AnyOption]) -> Options:
        """Return these options with some changed, all checked. Raises OptionError for a value that is not allowed."""
        values: dict[str, object] = dict(changes)
        if of_schedule := {name: values.pop(name) for name in ScheduleOptions.__struct_fields__ if name in values}:
            values["schedule"] = msgspec.structs.replace(self.schedule or ScheduleOptions(), **of_schedule)
        unknown = set(values) - set(self.__struct_fields__)
        if unknown:
            raise OptionError(f"there is no option {min(unknown)!r}: use {', '.join(_known())}")
        if "priority" in values:
            values["priority"] = _priority(values["priority"])
        if "mode" in values:
            values["mode"] = _mode(values["mode"])
        if "on_duplicate" in values:
            values["on_duplicate"] = _on_duplicate(values["on_duplicate"])
        if "tags" in values:
            values["tags"] = _tags(values["tags"])
        if "then" in values:
            values["then"] = _then(values["then"])
        merged: Options = msgspec.structs.replace(self, **values)
        _check(merged)
        return merged


def _known() -> list[str]:
    of_task = [name for name in Options.__struct_fields__ if name != "schedule"]
    return [*of_task, *ScheduleOptions.__struct_fields__]


class StoredOptions(Struct, frozen=True, omit_defaults=True):
    """What of the options is stored with a task, because the task was given it itself."""

    retry: StoredRetry | None = None
    timeout_us: Annotated[int, Meta(ge=1, le=duration_us(TIMEOUT_MAX))] | None = None
    headers: dict[str, str] = {}
    """What middleware sends along from the scheduling to the runs."""
    serial: bool = False
    """Whether its end may let another task go that waits for it: the next occurrence of its schedule."""
    reports: bool = False
    """Whether its schedule is to be looked at again once it ends."""


@lru_cache(maxsize=256)
def stored_options(text: str | None) -> StoredOptions:
    """Return what the task alone has; unreadable text counts as nothing, for options must never stop a task."""
    if text is None:
        return StoredOptions()
    try:
        return msgspec.json.decode(text, type=StoredOptions)
    except (msgspec.MsgspecError, RecursionError):
        return StoredOptions()


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as they are stored. Raises OptionError unless they are text, LimitExceededError."""
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise OptionError(f"header {name!r}: {value!r}: use text for both; JSON holds anything else")
    size = len(msgspec.json.encode(dict(headers)))
    if size > HEADERS_MAX:
        raise LimitExceededError(
            f"the headers {', '.join(sorted(headers))} take {size:,} bytes, more than {HEADERS_MAX:,}: send less along"
        )
    return dict(headers)


def check_name(what: str, name: str) -> str:
    """Return `name`, or raise OptionError: names are 1 to 200 of A-Z a-z 0-9 _ . : -"""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise OptionError(f"{what} {name!r} is not allowed: use 1 to 200 of the characters A-Z a-z 0-9 _ . : -")
    return name


def check_by(by: str | None) -> str | None:
    """Return who changes something; None stays None. Raises OptionError unless it is 1 to 200 printable characters."""
    if by is not None and not (isinstance(by, str) and 1 <= len(by) <= BY_MAX and by.isprintable()):
        raise OptionError(f"by={shortened(by)}: use 1 to {BY_MAX} characters that can be printed")
    return by


def check_words(name: str, words: str | None) -> str | None:
    """Return a note to people; None stays None. Raises OptionError unless every store can keep it."""
    if words is None:
        return None
    if not isinstance(words, str) or len(words) > WORDS_MAX or "\0" in words or not _is_text(words):
        raise OptionError(f"{name}={shortened(words)}: use text of up to {WORDS_MAX:,} characters")
    return words


def check_text(name: str, text: object) -> str:
    """Return text to look for. Raises OptionError for anything that no store could have, such as a number."""
    if not isinstance(text, str) or not _is_text(text):
        raise OptionError(f"{name}={shortened(text)}: use text")
    return text


def check_limit(limit: int) -> int:
    """Return how many are asked for at most. Raises OptionError."""
    if not isinstance(limit, int) or limit < 0:
        raise OptionError(f"limit={shortened(limit)}: use 0 or more")
    return limit


def check_id(task_id: object) -> str:
    """Return the id of a task to look for. Raises OptionError for what is none, such as the task's handle."""
    if not isinstance(task_id, str) or not _is_text(task_id):
        raise OptionError(f"task id {shortened(task_id)} is not text: give the id alone, such as handle.id")
    return task_id


def shortened(value: object) -> str:
    """Return a value as an error shows it."""
    shown = ascii(value)
    return shown if len(shown) <= SHOWN_MAX else f"{shown[:SHOWN_MAX]}…"


def _is_text(words: str) -> bool:
    """Return whether UTF-8 has it: half of a surrogate pair is no character."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_place(name: str) -> str:
    """Return the name of a place. Raises OptionError."""
    if name in KINDS:
        raise OptionError(f"on={name!r}: work runs there by its kind, sync work on threads and async work on asyncio")
    return check_name("place", name)


def _priority(value: object) -> Priority:
    try:
        return Priority(value)  # type: ignore[arg-type]
    except ValueError:
        raise OptionError(f"priority={value!r}: use 0 (low), 1 (normal), 2 (high) or 3 (urgent)") from None


def _mode(value: object) -> Mode:
    if isinstance(value, Mode):
        return value
    try:
        return Mode[str(value).upper()]
    except KeyError:
        raise OptionError(f"mode={value!r}: use 'at_least_once' or 'at_most_once'") from None


def _on_duplicate(value: object) -> OnDuplicate:
    if isinstance(value, OnDuplicate):
        return value
    try:
        return OnDuplicate[str(value).upper()]
    except KeyError:
        raise OptionError(f"on_duplicate={value!r}: use 'refuse', 'keep', 'replace' or 'preserve'") from None


def _tags(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise OptionError(f"tags={value!r}: use a tuple of names")
    tags = tuple(check_name("tag", tag) for tag in value)
    if len(tags) > TAGS_MAX:
        raise OptionError(f"{len(tags)} tags: use at most {TAGS_MAX}")
    return tags


def _then(value: object) -> tuple[Then, ...]:
    if value is None:
        return ()
    followers = (value,) if isinstance(value, Then) else value
    if not isinstance(followers, tuple | list) or not all(isinstance(one, Then) for one in followers):
        raise OptionError(f"then={value!r}: use Then(work, …), or a tuple of those")
    return tuple(followers)


def _check(options: Options) -> None:
    check_name("queue", options.queue)
    if options.id is not None:
        check_name("task id", options.id)
    if options.on is not None:
        check_place(options.on)
    check_by(options.by)
    check_words("why", options.why)
    for name in ("unique", "limit_key"):
        _check_key(name, getattr(options, name))
    for name in ("limit", "key_limit"):
        if not isinstance(limit := getattr(options, name), Limit | None):
            raise OptionError(f"{name}={limit!r}: use Limit(…) or None")
    if options.retry is not None and not isinstance(options.retry, Retry):
        raise OptionError(f"retry={options.retry!r}: use Retry(…) or None")
    for name in ("timeout", "start_within"):
        _check_span(name, getattr(options, name))
    if not isinstance(options.max_lost, int) or not 1 <= options.max_lost <= 1000:
        raise OptionError(f"max_lost={options.max_lost!r}: use 1 to 1,000")
    _check_together(options)


def _check_together(options: Options) -> None:
    if options.mode is Mode.AT_MOST_ONCE and options.max_attempts > 1:
        raise OptionError("mode='at_most_once' with a retry: a task that runs at most once cannot be tried again")
    if options.then and options.replaces:
        raise OptionError(
            f"on_duplicate='{options.on_duplicate.name.lower()}' with then=…: the task that waits keeps those that "
            "follow it; use 'refuse' or 'keep'"
        )


def _check_key(name: str, key: object) -> None:
    if key is not None and not (isinstance(key, str) and 1 <= len(key) <= UNIQUE_MAX and key.isprintable()):
        raise OptionError(f"{name}={key!r}: use 1 to {UNIQUE_MAX} printable characters")


def _check_span(name: str, span: object) -> None:
    if span is None:
        return
    if not isinstance(span, timedelta) or not timedelta(0) < span <= TIMEOUT_MAX:
        raise OptionError(f"{name}={span!r}: use a timedelta above zero, up to 30 days, or None")
