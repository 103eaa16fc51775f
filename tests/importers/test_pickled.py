"""Pickles are read as data: what they name is noted, and nothing is imported, called or made."""

from __future__ import annotations

import datetime as dt
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.date import DateTrigger

from kokugen.errors import InvalidEntryError
from kokugen.importers.apscheduler import read_jobs
from kokugen.importers.pickled import STEPS_MAX, Made, Named, read_pickle
from tests.importers.hostile import payloads

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NAMES = list(payloads(Path("x")))
PLAIN: list[Any] = [
    *(None, True, False, 0, -1, 2**31, 2**62, 1.5, "text", "ü\u2028", b"bytes", "", ()),
    *([], {}, set(), frozenset({1, 2}), {1}, [1, [2, (3, {"a": (4,)})]], {"a": {"b": [1]}, 1: 2, None: 3}),
    *((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
]


@pytest.mark.skipif(sys.platform == "win32", reason="the payloads are for POSIX systems")
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_pickle_does_nothing(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    hostile = payloads(marker)[name]
    reading = read_jobs([("job", 1.0, hostile)], {}, NOW)
    assert (reading.found, len(reading.left_out)) == ((), 1)
    assert not marker.exists()
    with suppress(Exception):  # it has done it all the same
        pickle.loads(hostile)
    assert marker.exists(), "it would have been seen"


def test_what_it_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trapdoor.py").write_text("class Trap: pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for pickled in (b"ctrapdoor\nTrap\n.", b"\x80\x04\x8c\x08trapdoor\x8c\x04Trap\x93."):
        assert read_pickle(pickled) == Named("trapdoor", "Trap")
    assert "trapdoor" not in sys.modules
    pickle.loads(b"ctrapdoor\nTrap\n.")
    assert sys.modules.pop("trapdoor", None) is not None, "it would have been seen"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_as_pickle_reads_them(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps(value, protocol))
    if (protocol < 4 and isinstance(value, set | frozenset)) or (protocol < 3 and isinstance(value, bytes)):
        assert isinstance(found, Made), "older protocols call something to make it"
    else:
        assert (found, type(found)) == (value, type(value))


def test_an_odd_escape_in_an_old_text_is_no_warning() -> None:
    assert read_pickle(b"S'a\\}b'\n.") == "a\\}b"


def test_what_is_shared_is_shared() -> None:
    inner = [1]
    first, second = read_pickle(pickle.dumps([inner, inner]))
    assert first is second


def test_a_call_is_noted_with_its_arguments() -> None:
    made = read_pickle(pickle.dumps(dt.timedelta(days=1, seconds=2)))
    assert isinstance(made, Made)
    assert (made.of, made.args, made.name) == (Named("datetime", "timedelta"), (1, 2, 0), "datetime.timedelta")


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"", "damaged"),
        (b"no pickle", "damaged"),
        (b"N", "damaged"),
        (b".", "does not end with one value"),
        (b"NN.", "does not end with one value"),
        (b"(N.", "does not end with one value"),
        (b"0.", "damaged"),
        (b"a.", "damaged"),
        (b"h\x05.", "damaged"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.", "damaged"),
        (b"N\x85\x86.", "takes more than there is"),
        (b"Pid\n.", "PERSID"),
        (b"NQ.", "BINPERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"N)R.", "calls what has no name"),
        (b"NNb.", "fills something"),
        (b"NNa.", "fills something"),
        (b"NNNs.", "fills something"),
        (b"}))s.", "a key that is no text"),
        (b"(I1\nd.", "damaged"),
        (b"\x80\x04NN\x93.", "looks up what has no name"),
        (b"N" * (STEPS_MAX + 2) + b".", "more than 100,000 steps"),
        (b"X" * 2_000_000, "bytes"),
    ],
)
def test_what_is_no_pickle_of_plain_data_is_refused(pickled: bytes, reason: str) -> None:
    with pytest.raises(InvalidEntryError, match=reason):
        read_pickle(pickled)


DEEP = b")" + b"\x85" * 90_000
"""A tuple in a tuple, so often that it would exhaust the stack of whatever walks or hashes it."""
WIDE = b"]q\x000" + b"".join(b"]q%c(" % at + b"h%c" % (at - 1) * 9 + b"e0" for at in range(1, 9)) + b"h\x08"
"""A list of nine of a list of nine of …, eight deep: small as a pickle, and of 43 million when it is written out."""


@pytest.mark.parametrize("value", [DEEP, WIDE, b"}" + DEEP + b"Ns"], ids=["deep", "wide", "a deep key"])
@pytest.mark.parametrize("field", ["args", "kwargs", "trigger", "func", "misfire_grace_time"])
def test_a_bomb_is_left_out(field: str, value: bytes) -> None:
    job = {"version": 1, "func": "f", "trigger": DateTrigger(NOW.replace(year=2100)), "args": (), "kwargs": {}}
    job |= {"coalesce": True, "max_instances": 1, "misfire_grace_time": 1}
    assert read_jobs([("job", 1.0, pickle.dumps(job, 2))], {}, NOW).left_out == ()
    key = f"X{len(field).to_bytes(4, 'little').decode()}{field}".encode()
    hostile = pickle.dumps(job, 2)[:-1] + key + value + b"s."
    (left,) = read_jobs([("job", 1.0, hostile)], {}, NOW).left_out
    assert left.source == "job 'job'"
