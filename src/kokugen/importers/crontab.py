"""Crontab files as schedules of commands: crontab(5) as Debian's cron and cronie have it.

A line that cron would refuse is refused here, with its line and column. What the line runs becomes a command that the
user has to allow (`kokugen.importers.allowance`): nothing of it is stored, and nothing runs by being imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import PurePosixPath

from msgspec import Struct

from kokugen.errors import InvalidEntryError, KokugenError, TriggerError
from kokugen.importers.allowance import SHELL, Command, declaration
from kokugen.importers.cron_fields import read_line
from kokugen.importers.found import Found, LeftOut, NotCarriedError, Reading
from kokugen.options import check_name
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.wall import check_zone
from kokugen.schedule_options import ScheduleOptions
from kokugen.task import TaskParam, replace

SETTING = re.compile(
    r"""\s*(?:"(?P<double>[^"]+)"|'(?P<single>[^']+)'|(?P<bare>[A-Za-z_][^\s=]*))\s*=\s*(?P<value>.*)"""
)
USER = re.compile(r"[ \t]*([^ \t]+)[ \t]+")
BLANKS = " \t"
QUEUE_PREFIX = "cron."

OF_CRON = {"MAILTO", "MAILFROM", "CRON_TZ", "RANDOM_DELAY", "LOGNAME", "USER"}
"""Settings that are for cron, and not for what it runs; or that are not theirs to say."""
START_WITHIN = timedelta(minutes=5)
"""cron starts a job at its time or never; a queue may be a little longer than the wait for it is."""
JITTER_MAX = timedelta(days=1)


class Tab(Struct, frozen=True, kw_only=True):
    """A crontab file: its name, its text, and whether its lines name a user, as those of the system do."""

    name: str
    text: str
    has_users: bool = False

    @property
    def label(self) -> str | None:
        """Return what to call its commands by; None: each by what it runs."""
        return self.name if self.has_users and self.name != "crontab" else None

    @property
    def origin(self) -> str:
        """Return what an import calls it."""
        return f"crontab:{self.name}"


def is_of_system(path: str) -> bool:
    """Return whether the lines of a crontab at this path name users."""
    place = PurePosixPath(path)
    return place.parent.name == "cron.d" or place == PurePosixPath("/etc/crontab")


def read_crontabs(tabs: list[Tab], now: datetime, tz: str) -> Reading:
    """Return the schedules of crontabs, and the declaration of their commands. `tz` is the zone that cron runs in.

    Raises InvalidEntryError, with the line and the column, for what cron refuses.
    """
    found: dict[str, Found] = {}
    left_out: list[LeftOut] = []
    commands: dict[str, Command] = {}
    for tab in tabs:
        for source, entry in _entries(tab, tz):
            try:
                one, command = _schedule(tab, source, entry, now)
            except NotCarriedError as error:
                left_out.append(LeftOut(source, str(error)))
                continue
            commands[command.work_id] = command
            named = _named(one, found)
            found[named.name] = named
    return Reading(
        origins=tuple(dict.fromkeys(tab.origin for tab in tabs)),
        found=tuple(found.values()),
        left_out=tuple(left_out),
        declaration=declaration(list(commands.values())) if commands else None,
    )


class _Entry(Struct, frozen=True, kw_only=True):
    """A line, and the settings above it."""

    line: str
    settings: Mapping[str, str]
    tz: str


def _entries(tab: Tab, tz: str) -> Iterator[tuple[str, _Entry]]:
    """Yield the lines that run something, each with where it stands."""
    settings: dict[str, str] = {}
    for number, line in enumerate(tab.text.split("\n"), 1):
        source = f"{tab.name}, line {number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if bad := {"\0", "\r"} & set(line):
            raise InvalidEntryError(f"{source}: it holds {bad.pop()!r}, which cron would make a part of it")
        if set_ := SETTING.fullmatch(line):
            name = set_["double"] or set_["single"] or set_["bare"]
            settings[name] = _unquoted(set_["value"], f"{source}: the value of {name}")
            if name == "CRON_TZ":
                _check_zone(settings[name], source)
            continue
        yield source, _Entry(line=line, settings=dict(settings), tz=settings.get("CRON_TZ", tz))


def _unquoted(value: str, what: str) -> str:
    """Return a value without its quotes. Raises InvalidEntryError, which does not show it: it may be a secret."""
    value = value.strip(BLANKS)
    if value[:1] not in {'"', "'"} or not value:
        return value
    if len(value) < 2 or value[-1] != value[0] or value[0] in value[1:-1]:
        raise InvalidEntryError(f"{what} is not closed by the quote that it begins with")
    return value[1:-1]


def _check_zone(zone: str, source: str) -> None:
    try:
        check_zone(zone)
    except TriggerError:
        raise InvalidEntryError(f"{source}: CRON_TZ={zone!r} is no time zone: give an IANA name") from None


def _schedule(tab: Tab, source: str, entry: _Entry, now: datetime) -> tuple[Found, Command]:
    try:
        fields = read_line(entry.line)
    except KokugenError as error:
        if isinstance(error, NotCarriedError):
            raise
        raise InvalidEntryError(f"{source}: {error}") from error
    user, text = (
        _user(entry.line[fields.end :], source) if tab.has_users else (None, entry.line[fields.end :].strip(BLANKS))
    )
    if not text:
        raise InvalidEntryError(f"{source}: there is no command")
    command = _command(tab, user, text, entry.settings)
    return Found(
        source=source,
        origin=tab.origin,
        function=command.work_id,
        when=_trigger(fields.expression, entry.tz, command.work_id),
        param=TaskParam(
            work_id=command.work_id,
            scheduled_time=now,
            queue=None if user is None else _queue(user),
            mode="at_most_once",
            start_within=START_WITHIN,
        ),
        options=ScheduleOptions(
            name=command.work_id, catchup="skip", overlap="allow", jitter=_delay(entry.settings, source)
        ),
        notes=tuple(_notes(entry, command, fields.is_quiet)),
    ), command


def _user(rest: str, source: str) -> tuple[str, str]:
    found = USER.match(rest)
    if not found or not rest[found.end() :].strip():
        raise InvalidEntryError(f"{source}: there is no user and command: is it a user's own crontab? then say --user")
    return found[1], rest[found.end() :].rstrip(BLANKS)


def _queue(user: str) -> str:
    """Return the queue of what is to run as a user. Raises NotCarriedError where its name can be none."""
    try:
        return check_name("queue", QUEUE_PREFIX + user)
    except KokugenError:
        raise NotCarriedError(f"the user {user!r} cannot be in the name of a queue") from None


def _trigger(expression: str, tz: str, key: str) -> Cron:
    try:
        return Cron(expression, key=key if "H" in expression else None, tz=tz)
    except TriggerError as error:
        raise NotCarriedError(str(error)) from error  # the fields were read before: it can never come true


def _command(tab: Tab, user: str | None, text: str, settings: Mapping[str, str]) -> Command:
    line, stdin = split_percent(text)
    environment = {name: value for name, value in settings.items() if name not in OF_CRON}
    identity = repr((user, line, stdin, sorted(environment.items())))
    digest = blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    label = re.sub(r"[^A-Za-z0-9_-]+", "-", tab.label or _program(line)).strip("-")[:60] or "job"
    shell = environment.get("SHELL", SHELL)
    return Command(
        work_id=f"{QUEUE_PREFIX}{label}.{digest}", line=line, stdin=stdin, shell=shell, settings=environment, user=user
    )


def _program(line: str) -> str:
    """Return the name of the first program that a command names by its path, or of its first word."""
    words = line.replace(";", " ").split()
    paths = [word for word in words if re.fullmatch(r"/[\w./+-]+", word) and not word.startswith("/dev/")]
    return PurePosixPath((paths or words)[0]).name


def split_percent(text: str) -> tuple[str, str | None]:
    r"""Return the command of a line and what it reads: `%` ends the command and is a newline after it, `\%` is one."""
    command, end, escaped = "", len(text), False
    for at, char in enumerate(text):
        if char == "%" and not escaped:
            end = at
            break
        command = command[:-1] + char if char == "%" else command + char
        escaped = char == "\\" and not escaped
    if end == len(text):
        return command.strip(BLANKS), None
    stdin = re.sub(r"(?<!\\)%", "\n", text[end + 1 :]).replace("\\%", "%")
    return command.strip(BLANKS), stdin if stdin.endswith("\n") or not stdin else f"{stdin}\n"


def _delay(settings: Mapping[str, str], source: str) -> timedelta:
    """Return by how much jobs may start later: RANDOM_DELAY of cronie, in minutes."""
    text = settings.get("RANDOM_DELAY", "0")
    if not re.fullmatch(r"\d{1,4}", text) or timedelta(minutes=int(text)) > JITTER_MAX:
        raise InvalidEntryError(f"{source}: RANDOM_DELAY={text!r} above it is no number of minutes, up to 1440")
    return timedelta(minutes=int(text))


def _notes(entry: _Entry, command: Command, is_quiet: bool) -> Iterator[str]:
    if command.user is not None:
        queue = QUEUE_PREFIX + command.user
        yield f"it is on the queue {queue}: run a worker of that queue as {command.user}"
    if entry.settings.get("MAILTO"):
        yield f"no mail goes to {entry.settings['MAILTO']}: the output is kept with the task's result"
    if "TZ" in entry.settings:
        yield f"TZ is for the command alone, as with cron: the times are those of {entry.tz}"
    if "\\\\" in entry.line:
        yield "two backslashes stay two, as with cronie: Debian's cron makes one of them"
    if command.is_behind:
        yield "without the `&` at its end: what a command leaves behind is killed when it ends"
    if is_quiet:
        yield "the `-`, which keeps it out of the log, means nothing here"


def _named(found: Found, taken: Mapping[str, Found]) -> Found:
    """Return a schedule with a name of its own: one command at several times has several."""
    name, number = found.name, 1
    while name in taken:
        number += 1
        name = f"{found.param.work_id}-{number}"
    named: Found = replace(found, options=replace(found.options, name=name))
    return named
