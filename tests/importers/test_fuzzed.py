"""Whatever a source holds, it is read, left out or refused in kokugen's own words: nothing else comes of it."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from typing import Any

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from kokugen.errors import KokugenError
from kokugen.importers.apscheduler import read_jobs
from kokugen.importers.beat import read_beat_schedule
from kokugen.importers.crontab import Tab, read_crontabs
from kokugen.importers.django_beat import is_dump, read_dump
from tests.importers.test_django_beat import TASK, dump

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
JOB = {
    "version": 1,
    "id": "x",
    "func": "shop.jobs:send",
    "trigger": OrTrigger(
        [
            CronTrigger(day="2nd fri,last,5", hour=3, start_date=NOW, timezone="Europe/Berlin", jitter=3),
            IntervalTrigger(hours=3, start_date=NOW, timezone="UTC"),
        ]
    ),
    "executor": "default",
    "args": (1, "x", {"when": NOW}),
    "kwargs": {"day": dt.date(2026, 1, 1), "spans": [dt.timedelta(1)]},
    "misfire_grace_time": 5,
    "coalesce": True,
    "max_instances": 1,
}
PICKLES: list[bytes] = [pickle.dumps(JOB, protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
CRON = st.lists(st.text("0123456789*,-/~@% \t\n\"'=\\#abcdehmnorstuwy<LWH", max_size=30), max_size=8).map("\n".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**30) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TASK_FIELDS = st.sampled_from(sorted(TASK))
RECORD_FIELDS = st.sampled_from(sorted({name for one in dump()[:-1] for name in one["fields"]}))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(PICKLES), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4))))
def test_a_damaged_job_is_read_or_left_out(pickled: bytes, damages: list[tuple[float, bytes, int]]) -> None:
    for place, put, dropped in damages:
        at = int(place * len(pickled))
        pickled = pickled[:at] + put + pickled[at + dropped :]
    reading = read_jobs([("x", 1.0, pickled)], {}, NOW)
    assert len(reading.found) + len(reading.left_out) == 1


@settings(max_examples=400, deadline=None, derandomize=True)
@given(CRON, st.booleans())
def test_any_text_is_a_crontab_or_is_refused(text: str, has_users: bool) -> None:
    try:
        reading = read_crontabs([Tab(name="crontab", text=text, has_users=has_users)], NOW, "UTC")
    except KokugenError as error:
        said = str(error)
    else:
        said = "crontab, line "
        assert (reading.declaration is None) == (not reading.found)
        compile(reading.declaration or "", "declaration", "exec")
    assert said.startswith("crontab, line ")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["task", "schedule", "args", "kwargs", "options"]), JSON))
def test_any_entry_of_beat_is_read_or_left_out(changes: dict[str, Any]) -> None:
    entry = {"task": "a.b", "schedule": 5, **changes}
    reading = read_beat_schedule({"x": entry}, {}, NOW, None)
    assert len(reading.found) + len(reading.left_out) == 1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(TASK_FIELDS, JSON), st.dictionaries(RECORD_FIELDS, JSON), st.sampled_from(["crontab", "clocked"])
)
def test_any_record_of_a_dump_is_read_or_left_out(task: dict[str, Any], record: dict[str, Any], kind: str) -> None:
    document = dump({kind: 1, **task})
    for one in document[:-2]:
        one["fields"] = one["fields"] | record
    document = json.loads(json.dumps(document))
    assert is_dump(document)
    reading = read_dump(document, {}, NOW, None)
    assert len(reading.found) + len(reading.left_out) == 1
