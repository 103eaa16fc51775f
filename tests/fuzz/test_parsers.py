"""Whatever a text is, a parser returns a value or raises kokugen's own error, within a bound of steps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from kokugen.cli.times import parse_date, parse_span, parse_time, parse_zone
from kokugen.clock import SystemClock
from kokugen.codec import Reader, decode_params, decode_value, encode_params, split_params, with_argument
from kokugen.errors import KokugenError, OptionError, TriggerError
from kokugen.recurrence import RRule, load_calendar, load_spec, read_icalendar
from kokugen.recurrence.spec import dump_calendar, dump_spec
from kokugen.recurrence.tab import load_tab
from kokugen.repository.locate import mask, open_repository, stored_version
from kokugen.repository.postgres.address import parse as parse_address
from kokugen.repository.schedule_rows import ScheduleRow
from kokugen.schedules.definitions import Definition, Definitions
from kokugen.schedules.policy import Catchup, Policy, Template
from kokugen.task import Params
from tests.fuzz.mutation import STEPS_MAX, TEXTS, damaged, fuzz
from tests.fuzz.steps import TooManyStepsError, within_steps
from tests.recurrence.samples import CALENDARS, TRIGGERS

pytestmark = pytest.mark.timeout(max(120, TEXTS // 50))

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# -- Arguments and results


class Colour(Enum):
    RED = "red"


class Order(msgspec.Struct):
    when: datetime
    amount: Decimal
    path: PurePosixPath


@dataclass
class Kinds:
    order: Order
    colours: list[Colour]
    id: UUID | None
    ratio: float
    point: complex


PARAMS = [
    encode_params(params)
    for params in (
        Params((1, "x", [True, None, 2.5e300]), {"who": "Ann", "count": 12}),
        Params((), {"when": datetime(2026, 1, 1, tzinfo=UTC)}),
        Params((b"bytes", UUID(int=5), {"a": {"b": ["c"]}}), {}),
        Params(("long " * 50,), {"é": "\u202e"}),
        Params((), {}),
    )
]
KINDS = [
    json.dumps(
        {
            "order": {"when": "2026-01-01T00:00:00Z", "amount": "1.50", "path": "a/b"},
            "colours": ["red"],
            "id": "00000000-0000-0000-0000-000000000005",
            "ratio": 0.5,
            "point": [1, 2],
        }
    )
]
JSON_TOKENS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "null",
    "NaN",
    "[" * 70,
    '{"a":' * 70,
    '"args":[],',
    "\\ud800",
    "1e400",
]


@pytest.mark.parametrize("parse", [decode_params, split_params, decode_value], ids=lambda parse: parse.__name__)
def test_any_text_is_arguments_or_is_refused(parse: Any) -> None:
    fuzz(parse, PARAMS, JSON_TOKENS)


def test_arguments_that_are_read_are_written_and_read_the_same() -> None:
    for number in range(TEXTS):
        text = damaged(Random(number), PARAMS, JSON_TOKENS)
        try:
            params = decode_params(text)
        except KokugenError:
            continue
        assert decode_params(encode_params(params)) == params
        assert decode_params(with_argument(text, "x", "5")).kwargs == {**params.kwargs, "x": 5}


def test_any_text_is_a_typed_value_or_is_refused() -> None:
    fuzz(Reader(Kinds).read, KINDS, JSON_TOKENS)


# -- Recurrence


RULES = [
    "FREQ=MONTHLY;BYDAY=-1FR",
    "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU;BYHOUR=2,3;UNTIL=20261101T000000Z",
    "FREQ=YEARLY;BYWEEKNO=1,20;BYDAY=MO;COUNT=10",
    "FREQ=MINUTELY;INTERVAL=25;BYHOUR=1,2,3;BYDAY=SA,SU",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYSETPOS=-1",
    "FREQ=SECONDLY;INTERVAL=7;BYYEARDAY=366;BYSECOND=59",
]
RULE_TOKENS = [
    "FREQ=",
    "COUNT=",
    "UNTIL=",
    ";",
    ",",
    "BYDAY=53MO",
    "BYSETPOS=366",
    "BYMONTHDAY=31",
    "BYMONTH=2",
    "=",
    "-",
]
LINES = [
    "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY;COUNT=3\nEXDATE:20260102T090000",
    "DTSTART:20260101T090000Z\nRRULE:FREQ=WEEKLY;BYDAY=MO\nRDATE:20260105T100000Z,20260106T100000Z",
    "DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=YEARLY\r\n ;COUNT=2",
]
NAIVE = datetime(2026, 1, 1, 9)  # noqa: DTZ001 - local time of the zone that the rule is given


def test_any_text_is_a_rule_or_is_refused() -> None:
    fuzz(lambda text: RRule(text, NAIVE, tz="Europe/Berlin").next(NOON), RULES, RULE_TOKENS)


def test_any_lines_are_a_rule_with_dates_or_are_refused() -> None:
    fuzz(
        RRule.from_ical,
        LINES,
        [*RULE_TOKENS, "TZID=", ":", "\n", "\r\n ", "RRULE:", "19700101T000000", "99991231T235959Z"],
    )


EVENTS = [
    "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", "UID:1", *lines, "END:VEVENT", "END:VCALENDAR"])
    for lines in (
        ["DTSTART;VALUE=DATE:20260101", "DTEND;VALUE=DATE:20260102", "SUMMARY:New Year", "RRULE:FREQ=YEARLY;COUNT=5"],
        ["DTSTART;TZID=Europe/Berlin:20260301T090000", "DURATION:PT2H30M", "RRULE:FREQ=WEEKLY;UNTIL=20270101T000000Z"],
        ["DTSTART:20260301T090000Z", "DTEND:20260301T100000Z", "RDATE:20260302T090000Z", "EXDATE:20260303T090000Z"],
        ["DTSTART:20260301T090000", "DTEND:20260301T100000", "STATUS:CANCELLED"],
    )
]  # fmt: skip
EVENT_TOKENS = [
    "\r\n", ":", ";", "DTSTART:20260101", "DTEND:20260101T000000", "DURATION:-P1W", "DURATION:P9999999D",
    "BEGIN:VEVENT", "END:VEVENT", "TZID=Mars/Base", "RRULE:FREQ=SECONDLY", "FREQ=MINUTELY", "FREQ=DAILY",
    "RECURRENCE-ID:", "VALUE=PERIOD:", "00010101", "99991231T235959",
]  # fmt: skip


def test_any_text_is_a_calendar_or_is_refused() -> None:
    fuzz(lambda text: read_icalendar(text, years=(2026, 2027)), EVENTS, EVENT_TOKENS)


SPECS = [dump_spec(trigger) for trigger in TRIGGERS]
DUMPED = [dump_calendar(calendar) for calendar in CALENDARS]
SPEC_TOKENS = [*JSON_TOKENS, '"type":"every"', '"tz":"Mars/Base"', '"P99999999999D"', "-", "0001-01-01T00:00:00Z", "[]"]


def test_any_text_is_the_spec_of_a_trigger_or_is_refused() -> None:
    fuzz(lambda text: load_spec(text).next(NOON), SPECS, SPEC_TOKENS)


def test_any_text_is_the_spec_of_a_calendar_or_is_refused() -> None:
    fuzz(load_calendar, DUMPED, SPEC_TOKENS)


POLICIES = [
    msgspec.json.encode(policy).decode()
    for policy in (
        Policy(catchup=Catchup.ALL, rate=2.5, jitter_us=5, max_runs=3),
        Policy(window_us=10**12, failures_max=2, end_us=-5),
    )
]
TEMPLATES = [
    msgspec.json.encode(template).decode()
    for template in (
        Template(work_id="w", param='{"args":[1]}'),
        Template(work_id="x", queue="q", tags='["a"]', rank=1, start_within_us=5),
    )
]


def stored(policy: str = POLICIES[0], template: str = TEMPLATES[0]) -> Definition:
    given = {"id": "1", "name": "n", "decided": 0, "created_at": 0, "modified_at": 0}
    return Definitions().of(ScheduleRow(spec=SPECS[0], policy=policy, template=template, **given))  # type: ignore[arg-type]


def test_any_text_is_the_policy_of_a_stored_schedule_or_is_refused() -> None:
    fuzz(lambda text: stored(policy=text), POLICIES, JSON_TOKENS)


def test_any_text_is_the_task_of_a_stored_schedule_or_is_refused() -> None:
    fuzz(lambda text: stored(template=text), TEMPLATES, JSON_TOKENS)


TABS = [
    '[{"minute": [0, 30], "hour": [], "command": ["report", "daily"]}, {"second": [1], "day": [31], "command": ["x"]}]'
]


def test_any_text_is_a_tab_or_is_refused() -> None:
    fuzz(lambda text: [row.next(NOON) for row in load_tab(text)], TABS, [*JSON_TOKENS, '"weekday"', "60", "true"])


# -- The command line and addresses


TIMES = [
    "2026-12-24T18:00",
    "2026-12-24 18:00:05.123456+01:00",
    "2026-W52-4",
    "20261224T180000Z",
    "9999-12-31T23:59:59",
]
TIME_TOKENS = ["+24:00", "-23:59", "T", "Z", "0000", "W", ":"]
SPANS = ["90s", "1h30m", "2d", "1.5w", "250ms", "999999999d"]


def test_any_text_is_a_time_or_is_refused() -> None:
    fuzz(lambda text: parse_time(text, None), TIMES, TIME_TOKENS)
    fuzz(lambda text: parse_time(text, "Europe/Berlin"), TIMES, TIME_TOKENS)


def test_any_text_is_a_day_or_is_refused() -> None:
    fuzz(lambda text: parse_date(text, "--day"), ["2026-12-24", "20261224", "2026-W52-4"], TIME_TOKENS)


def test_any_text_is_a_zone_or_is_refused() -> None:
    fuzz(
        parse_zone,
        ["Europe/Berlin", "UTC", "America/Argentina/Ushuaia"],
        ["..", "/", "posix/", "leapseconds", "Europe"],
    )


def test_any_text_is_a_span_or_is_refused() -> None:
    fuzz(lambda text: parse_span(text, "--in"), SPANS, ["ms", "s", "w", ".", "9" * 310])


URLS = ["sqlite:///file.db", "sqlite+sqlite3:///folder/file.db", "memory://"]
ADDRESSES = [
    "postgresql://user:secret@host:5432/database?schema=kokugen&pooled=true&timeout=4&sslmode=require",
    "postgres://[::1]:5433,host:5434/db?host=/run&target_session_attrs=any",
]
URL_TOKENS = ["://", "/", "@", ":", "?", "&", "schema=", "%00", "%", "[", "]", ":99999", "timeout=nan", "../", "~"]


def test_any_text_is_the_url_of_a_store_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    def use(url: str) -> None:
        if url.startswith("postgres") or url.partition(":///")[2].startswith("/") or ".." in url:
            return  # a server, or a file anywhere
        repository = open_repository(url, namespace="default", clock=SystemClock())
        try:
            repository.open()
        finally:
            repository.close()
        if not url.startswith("memory"):
            assert stored_version(url)

    fuzz(use, URLS, URL_TOKENS, texts=TEXTS // 10)


def test_any_text_is_the_address_of_a_server_or_is_refused() -> None:
    fuzz(parse_address, ADDRESSES, URL_TOKENS)


def test_no_refusal_of_an_address_tells_its_password() -> None:
    for number in range(TEXTS):
        text = damaged(Random(number), ADDRESSES[:1], ["schema=X", "timeout=0", ":99999", "pooled=x", "%"])
        try:
            shown = parse_address(text).url
        except OptionError as error:
            shown = str(error)
        if text.count("secret") == 1 and re.match(r"postgres\w*:/*[^@/]*:secret@", text):
            assert "secret" not in shown + mask(text), text


# -- What was found so, and mended


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (load_spec, '"\ud800"', "no text that can be stored"),
        (load_calendar, "\udc80", "no text that can be stored"),
        (load_tab, "[\ud800]", "not a JSON list"),
        (read_icalendar, EVENTS[0].replace("New", "\ud800"), "not a calendar"),
        (lambda text: stored(policy=text), "\ud800", "schedule 'n' cannot be read"),
        (parse_address, "postgresql://host:" + "9" * 5000, "names the port '9999999999"),
        (parse_address, "postgresql://host/db?\ud800=1", "cannot be read"),
    ],
)  # fmt: skip
def test_text_that_is_none_is_refused_in_our_words(parse: Any, text: str, message: str) -> None:
    with pytest.raises(KokugenError, match=message):
        parse(text)


def test_a_tab_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tab.json").write_bytes(b'[{"command": ["\xff"]}]')
    with pytest.raises(KokugenError, match="not a JSON list"):
        load_tab(tmp_path / "tab.json")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x\udc80"])
@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+sqlite3"])
def test_a_name_that_no_file_can_have_is_refused_and_nothing_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KokugenError, match="a path is UTF-8 without NUL"):
        open_repository(f"{scheme}:///{name}", namespace="default", clock=SystemClock()).open()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["DTSTART:2026-01-01"], "DTSTART of '1' cannot be read"),
        (["DTSTART;TZID=Europe/" + "9" * 5000 + ":20260101T090000"], "not a calendar"),
        (["DTSTART:20260101T090000Z", "DTSTART:20260102T090000Z"], "more than once when it is"),
        (["DTSTART:20260101T090000Z", "DURATION:PT1M", "RRULE:FREQ=MINUTELY"], "more than 10000 days and stretches"),
        (["DTSTART;VALUE=DATE:19700101", "DTEND;VALUE=DATE:89990101"], "more than 10000 days and stretches"),
    ],
)
def test_an_event_that_cannot_be_read_or_never_ends_is_refused(lines: list[str], message: str) -> None:
    text = "\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", "UID:1", *lines, "END:VEVENT", "END:VCALENDAR"])
    with pytest.raises(TriggerError, match=message):
        within_steps(STEPS_MAX, lambda: read_icalendar(text))


@pytest.mark.parametrize(
    "url", ["postgresql://user:se?cret@host/db", "postgresql:/user:se?cret@host/db", "postgresql:user:secret@host"]
)
def test_a_password_that_is_not_quoted_or_whose_url_is_none_is_not_told(url: str) -> None:
    assert "cret" not in mask(url)
    assert "host" in mask(url)


def test_what_goes_on_and_on_is_found_to_do_so() -> None:
    with pytest.raises(TooManyStepsError):
        within_steps(1000, lambda: [number + 1 for number in iter(lambda: sum([1]), 2)])


def test_a_parser_that_lets_something_else_escape_is_found_with_a_short_text() -> None:
    def parse(text: str) -> int:
        return int(text) if "x" in text else 0

    with pytest.raises(AssertionError, match=r"'x' met with ValueError"):
        fuzz(parse, ["1x1", "11"])
