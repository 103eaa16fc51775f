"""What is no cron expression is refused at its column, with what may stand there; quickly, whatever it is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kokugen.errors import CronExpressionError, KokugenError, TriggerError
from kokugen.recurrence import Cron, load_spec
from kokugen.recurrence.cron_text import EXPRESSION_MAX, parse

TEXTS = int(os.environ.get("KOKUGEN_FUZZ_TEXTS", "100000"))
SHARDS = 5
LINES_MAX = 60_000
"""How many lines of Python reading an expression may take: some 5 milliseconds, a tenth of what is promised."""


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("", 1, "it is empty; 5 fields: minute hour day month weekday"),
        ("   ", 4, "it is empty"),
        ("* * * *", 8, "there are 4 of 5 fields"),
        ("*", 2, "there is 1 of 5 fields"),
        ("* * * * * * *", 13, "there are more than 6 fields; .*there is none for the year"),
        ("60 * * * *", 1, "'60' is not a minute; a minute is 0 to 59"),
        ("* 24 * * *", 3, "'24' is not an hour; an hour is 0 to 23"),
        ("* * 0 * *", 5, "'0' is not a day of the month; a day of the month is 1 to 31"),
        ("* * * 13 *", 7, "'13' is not a month; a month is 1 to 12, jan to dec"),
        ("* * * * 8", 9, "'8' is not a day of the week; a day of the week is 0 to 7, sun to sat"),
        ("60 * * * * *", 1, "'60' is not a second"),
        ("* * * janu *", 7, "'janu' is not a month"),
        ("* * * * monday", 9, "'monday' is not a day of the week"),
        ("0 9 * * mon-", 13, "'' is not a day of the week"),
        ("0 -5 * * *", 3, "'' is not an hour"),
        ("0 9,,10 * * *", 5, "an item of a list is missing"),
        ("0 9 1, * *", 7, "an item of a list is missing"),
        ("*/0 * * * *", 3, "'0' is not a step; the step of a minute is 1 to 60"),
        ("*/ * * * *", 3, "'' is not a step"),
        ("*/61 * * * *", 3, "'61' is not a step"),
        ("1-5/x * * * *", 5, "'x' is not a step"),
        ("1-2-3 * * * *", 3, "'2-3' is not a minute"),
        ("1/2/3 * * * *", 3, "'2/3' is not a step"),
        ("? * * * *", 1, "'\\?' can stand for a day only"),
        ("0 0 L-31 * *", 7, "no month has a day that is 31 before its last"),
        ("0 0 0W * *", 5, "'0' is not a day of the month"),
        ("0 0 1-5W * *", 7, "'5W' is not a day of the month"),
        ("0 0 * * 1#6", 11, "'6' is not the number of a week in a month; n#k has k from 1 to 5"),
        ("0 0 * * 8#1", 9, "'8' is not a day of the week"),
        ("0 0 * * L", 9, "'L' needs a day of the week; 5L, or friL, is the last Friday"),
        ("0 L * * *", 3, "'L' is not an hour"),
        ("H * * * *", 1, "'H' needs a key to spread by; give Cron"),
        ("H(5) * * * *", 1, "'H\\(5\\)' is not understood"),
        ("H(9-5) * * * *", 1, "ends before it begins"),
        ("@reboot", 1, "'@reboot' is no time"),
        ("@fortnightly", 1, "'@fortnightly' is not known; @yearly, @annually, @monthly"),
        ("@daily 5", 8, "nothing may follow '@daily'"),
        ("@every", 1, "'@every' is not known"),
        ("@every 5", 8, "'5' is not a period; a period is like 90s, 5m"),
        ("@every 0s", 8, "'0s' is too short or too long"),
        ("@every 99999w", 8, "'99999w' is too short or too long"),
        ("TZ=Mars/Base 0 0 * * *", 4, "there is no time zone 'Mars/Base'"),
        ("TZ= 0 0 * * *", 4, "there is no time zone ''"),
        ("TZ=../../etc/passwd 0 0 * * *", 4, "there is no time zone"),
        ("SHELL=/bin/sh 0 0 * * *", 1, "'SHELL' is not understood"),
        ("TZ=UTC", 7, "it is empty"),
        ("TZ=UTC @every 5m", 8, "goes by real time and has no zone"),
        ("0 0 30 2 *", 5, "it never comes true; no month that is allowed has such a day"),
        ("0 0 31 4,6,9,11 *", 5, "it never comes true"),
        ("0 0 L-29 2 *", 5, "it never comes true"),
        ("٣ * * * *", 1, "'٣' is not a minute"),
        ("0 \u0966-5 * * *", 3, "is not an hour"),
        ("²* * * * *", 1, "is not a minute"),
        ("0\u00a00 * * * *", 1, "is not a minute"),
        ("0 9\n* * * *", 3, "is not an hour"),
    ],
)
def test_an_error_names_the_column_and_what_is_allowed(expression: str, column: int, message: str) -> None:
    with pytest.raises(CronExpressionError, match=message) as caught:
        Cron(expression, key=None)
    assert caught.value.column == column
    assert caught.value.expression == expression
    assert caught.value.allowed
    assert f"column {column}: " in str(caught.value)


def test_an_error_is_a_value_error_of_kokugen() -> None:
    with pytest.raises(ValueError, match="column 1") as caught:
        Cron("x * * * *")
    assert isinstance(caught.value, KokugenError)


def test_what_is_no_text_is_refused() -> None:
    for wrong in (None, 5, b"* * * * *"):
        with pytest.raises(TriggerError, match="is not a text"):
            Cron(wrong)  # type: ignore[arg-type]
    with pytest.raises(TriggerError, match="key"):
        Cron("H * * * *", key="")
    with pytest.raises(TriggerError, match="printable"):
        Cron("H * * * *", key="\ud800")
    with pytest.raises(TriggerError, match="give the zone's IANA name"):
        Cron("@daily", tz=5)  # type: ignore[arg-type]


def test_an_expression_too_long_is_refused_unread() -> None:
    with pytest.raises(CronExpressionError, match="it is too long; 512 characters may be"):
        Cron(",".join(["1"] * EXPRESSION_MAX))


def test_a_stored_expression_is_checked_like_a_new_one() -> None:
    with pytest.raises(CronExpressionError, match="column 3") as caught:
        load_spec('{"type": "cron", "expression": "0 25 * * *"}')
    assert caught.value.column == 3


# -- Any text at all


def lines_of(ask: Callable[[], object]) -> int:
    """How many lines of kokugen's code something runs: unlike time, the same on a busy machine."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if "kokugen" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        ask()
    finally:
        sys.settrace(before)
    return lines


def read(expression: str) -> None:
    """Read an expression: it is right, or refused as promised."""
    refused: TriggerError | None = None
    try:
        Cron(expression, key="key")
    except TriggerError as error:
        refused = error
    if refused is not None:
        assert isinstance(refused, CronExpressionError)
        assert 1 <= refused.column <= min(len(expression), EXPRESSION_MAX) + 1
        return
    text = json.dumps({"type": "cron", "expression": expression, "key": "key"})
    assert load_spec(text) == Cron(expression, key="key")


WORDS = ["*", "?", "L", "LW", "L-3", "H", "H(1-5)", "15W", "5L", "fri#2", "mon-fri", "jan", "22-2", "", "@", "7", "0-6"]
ITEMS = st.one_of(
    st.sampled_from(WORDS),
    st.integers(-1, 70).map(str),
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
)
FIELDS = st.lists(st.tuples(ITEMS, st.sampled_from(["", "/2", "/0", "/60", "/"])).map("".join), min_size=1, max_size=4)
LIKELY = st.lists(FIELDS.map(",".join), min_size=4, max_size=7).map(" ".join)


@given(st.one_of(st.text(max_size=60), st.text("0123456789*/-,?LWH#@ monfrjaTZ=()", max_size=80), LIKELY))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("TZ=")
@example("@every " + "9" * 500 + "s")
@example("0 0 " + "1," * 200 + "1 * *")
@example("\ud800 * * * *".encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
def test_any_text_is_read_or_refused_as_promised(expression: str) -> None:
    read(expression)


@pytest.mark.parametrize("seed", range(SHARDS))
def test_a_hundred_thousand_texts_are_read_or_refused_as_promised(seed: int) -> None:
    chance = Random(seed)
    rights = 0
    for _ in range(TEXTS // SHARDS):
        expression = " ".join(random_field(chance) for _ in range(chance.choice([5, 5, 5, 6, 6, 4, 7])))
        try:
            parse(expression, "key")
            rights += 1
        except CronExpressionError as error:
            at = error.column
            assert 1 <= at <= len(expression) + 1, expression
    assert 0.1 < rights / (TEXTS // SHARDS) < 0.9, "both kinds are tried"


def random_field(chance: Random) -> str:
    if chance.random() < 0.8:
        return chance.choice(["*", "0", "1", "*/2", "1-5", "H", "3,5"])
    items = [chance.choice([*WORDS, str(chance.randrange(60))]) for _ in range(chance.choice([1, 1, 2, 3]))]
    if chance.random() < 0.3:
        items[-1] += "/" + str(chance.randrange(70))
    return ",".join(items)


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 30 2 *",
        "* * * * * *",
        "0 0 31 2,4,6,9,11 *",
        "0-59/1 0-59/1 0-23/1 1-31/1 1-12/1 0-7/1",
        "0 0 " + ",".join(["1-31"] * 100) + " * *",
        ",".join(["0-59"] * 60) + " " + ",".join(["0-23"] * 30) + " * * *",
        "0 0 * 2 " + ",".join(["sun#5"] * 80),
        "@every " + "1s" * 250,
        "x" * EXPRESSION_MAX,
        "," * EXPRESSION_MAX,
        "H" * EXPRESSION_MAX,
        "L" * EXPRESSION_MAX,
        " " * EXPRESSION_MAX,
    ],
)
def test_the_worst_expressions_take_few_steps(expression: str) -> None:
    assert lines_of(lambda: read_quietly(expression)) < LINES_MAX


def read_quietly(expression: str) -> None:
    try:
        parse(expression)
    except CronExpressionError:
        return


@given(LIKELY)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_likely_expression_takes_many_steps(expression: str) -> None:
    assert lines_of(lambda: read_quietly(expression)) < LINES_MAX


@pytest.mark.parametrize("expression", ["30 2 * 3 sunL", "0 0 29 2 */7", "0 0 * 2 sun#5", "59 59 23 31 12 *"])
def test_the_longest_searches_take_few_steps(expression: str) -> None:
    trigger = Cron(expression, tz="Europe/Berlin", gap="skip")
    at = datetime(2088, 3, 1, tzinfo=UTC)
    trigger.next(at)  # the zone's table grows once
    assert lines_of(lambda: trigger.next(at)) < LINES_MAX
