"""Values come back as they were written, or are refused with path and reason; text is only data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest

from kokugen.codec import (
    DEPTH_MAX,
    ERROR_MAX,
    PARAM_MAX,
    RESULT_MAX,
    Reader,
    cut_error,
    decode_params,
    decode_value,
    encode_params,
    encode_value,
    split_params,
)
from kokugen.errors import CodecError, LimitExceededError
from kokugen.task import Params


@dataclass
class Address:
    street: str
    since: date


class Person(msgspec.Struct):
    name: str
    address: Address


class Options(TypedDict, total=False):
    loud: bool


class Point(NamedTuple):
    x: int
    y: int


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


class Model:
    """What pydantic's models look like to kokugen."""

    def __init__(self, when: datetime) -> None:
        self.when = when

    def __repr__(self) -> str:
        return f"Model({self.when.isoformat()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.when == self.when

    __hash__ = None  # type: ignore[assignment]

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return {"when": self.when.isoformat()}

    @classmethod
    def model_validate_json(cls, data: bytes) -> Model:
        raw = msgspec.json.decode(data, type=dict[str, str])
        return cls(datetime.fromisoformat(raw["when"]))


NOON = datetime(2026, 12, 24, 12, 0, 0, 123456, tzinfo=UTC)
ID = UUID("01a20d0f-cec7-7ea3-8916-7d2863410e7c")


class Text(str):
    __slots__ = ()


class Number(float):
    pass


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


# -- Arguments


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (Params(), "{}"),
        (Params((1, "a")), '{"args":[1,"a"]}'),
        (Params(kwargs={"a": None}), '{"kwargs":{"a":null}}'),
        (Params((True,), {"ä": 1.5}), '{"args":[true],"kwargs":{"ä":1.5}}'),
    ],
)
def test_arguments_are_written_without_their_empty_parts(params: Params, text: str) -> None:
    assert encode_params(params) == text
    assert decode_params(text) == params


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[1]",
        '"{}"',
        '{"args":{}}',
        '{"kwargs":[]}',
        '{"kwargs":{"a":1},"more":1}',
        '{"__class__":"os.system"}',
        '{"args":[NaN]}',
        '{"args":[Infinity]}',
        '{"args":[1e999]}',
        '{"args":[1,]}',
        '{"args":[1]}x',
        "{'args':[]}",
        '{"args":["\ud800"]}',
        '{"args":[' + "9" * 5000 + "]}",
    ],
)
def test_text_that_is_not_arguments_is_refused(text: str) -> None:
    with pytest.raises(CodecError):
        decode_params(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"kwargs":{"a":1,"a":2}}',
        '{"args":[],"args":[1]}',
        '{"args":[{"b":{"c":1, "c":1}}]}',
        '{"kwargs":{"a":1,"\\u0061":2}}',
    ],
)
@pytest.mark.parametrize("read", [decode_params, split_params])
def test_a_key_that_stands_twice_is_refused(text: str, read: Callable[[str], object]) -> None:
    with pytest.raises(CodecError, match="twice"):
        read(text)


def test_other_ways_to_write_the_same_are_read() -> None:
    assert decode_params(' {"kwargs" : {"a": 1e2}, "args": [ ] } ') == Params((), {"a": 100.0})


# -- Values and types


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, None),
        (5, int),
        (2**63, int),
        (-(10**40), int),
        (1.5, float),
        ("ä\0\n\U0001f600", str),
        (b"\0\xff", bytes),
        (NOON, datetime),
        (NOON.date(), date),
        (timedelta(days=1, microseconds=5), timedelta),
        (ID, UUID),
        (Decimal("1.10"), Decimal),
        (Colour.RED, Colour),
        (Level.HIGH, Level),
        (Point(1, 2), Point),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        ({1: "a"}, dict[int, str]),
        ({ID: NOON}, dict[UUID, datetime]),
        ([None, NOON], list[datetime | None]),
        (Address("Elm", NOON.date()), Address),
        (Person("Ann", Address("Elm", NOON.date())), Person),
        ({"loud": True}, Options),
        (Path("/tmp/a"), Path),
        (PurePosixPath("a/b"), PurePosixPath),
        (3 + 4j, complex),
        (Model(NOON), Model),
        ([Model(NOON)], list[Model]),
        (Model(NOON), Model | None),
        (Text("a"), str),
        (Number(2), float),
    ],
    ids=repr,
)
def test_a_value_comes_back_as_its_type(value: Any, kind: Any) -> None:
    back = decode_value(encode_value(value), kind)
    assert back == value


def test_an_iterable_is_read_as_a_list() -> None:
    assert decode_value("[1,2]", Iterable[int]) == [1, 2]
    with pytest.raises(CodecError, match=r"\$\[1\]"):
        decode_value('[1,"a"]', Iterable[int])


def test_without_a_type_the_values_are_plain() -> None:
    text = encode_value([Address("Elm", date(2026, 1, 1)), ID, (1,)])
    assert decode_value(text) == [{"street": "Elm", "since": "2026-01-01"}, str(ID), [1]]


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ('"5"', int, r"\$"),
        ('{"name":"Ann","address":{"street":5,"since":"2026-01-01"}}', Person, r"\$\.address\.street"),
        ('{"a":{"b":"x"}}', dict[str, dict[str, int]], r"\$\[\.\.\.\]\[\.\.\.\]"),
        ("[1,2]", tuple[int], r"\$"),
        ('["a",null]', list[Path], r"\$\[1\]"),
        ('{"when":"never"}', Model, r"\$"),
        ("[1]", complex, r"\$"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_path(text: str, kind: Any, path: str) -> None:
    with pytest.raises(CodecError, match=path):
        decode_value(text, kind)


def test_the_path_begins_where_the_reader_is_told() -> None:
    with pytest.raises(CodecError, match=r"at \$\.kwargs\.who: Expected `str`, got `int` \(at \$\.kwargs\.who\.name\)"):
        Reader(Person).read(msgspec.Raw(b'{"name":5}'), "$.kwargs.who")


@dataclass
class Dog:
    name: str


@dataclass
class Cat:
    name: str


@pytest.mark.parametrize("kind", [Dog | Cat, datetime | date, Dog | Path, list["Dog"]])
def test_a_type_whose_values_text_cannot_tell_apart_is_refused(kind: Any) -> None:
    with pytest.raises(CodecError, match="cannot be read from JSON"):
        Reader(kind)


@pytest.mark.parametrize("kind", [str | Path, UUID | str, datetime | str | None, Model | str])
def test_a_union_with_str_that_text_cannot_decide_is_read_as_str(kind: Any) -> None:
    assert decode_value('"2026-01-01T00:00:00Z"', kind) == "2026-01-01T00:00:00Z"


def test_a_union_that_text_can_decide_is_decided() -> None:
    assert [decode_value(text, int | str | None) for text in ("1", '"1"', "null")] == [1, "1", None]


# -- Refusals


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (object(), r"\$", "object"),
        ([1, {"a": [object()]}], r"\$\[1\]\.a\[0\]", "object"),
        (Person("Ann", lambda: None), r"\$\.address", "function"),  # type: ignore[arg-type]
        (Address("Elm", object), r"\$\.since", "type"),  # type: ignore[arg-type]
        ({(1, 2): 3}, r"\$", "tuple"),
        (["\ud800"], r"\$\[0\]", "surrogates"),
        (range(3), r"\$", "range"),
    ],
)
def test_what_is_not_data_is_refused_with_its_path(value: Any, path: str, reason: str) -> None:
    with pytest.raises(CodecError, match=rf"at {path}: .*{reason}"):
        encode_value(value)


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), float("-inf"), Number("nan"), complex("nan")], ids=range(5)
)
def test_nan_and_infinity_are_refused_wherever_they_hide(number: Any) -> None:
    for value in (number, [None, {"a": (1, number)}], Params((number,))):
        with pytest.raises(CodecError, match=r"nan|inf"):
            encode_value(value)


def test_null_and_the_word_null_are_no_nan() -> None:
    assert decode_value(encode_value([None, "null", {"a": 1.5}])) == [None, "null", {"a": 1.5}]


def test_an_integer_that_could_not_be_read_back_is_refused() -> None:
    assert decode_value(encode_value(10**4299)) == 10**4299
    with pytest.raises(CodecError, match="4300 digits"):
        encode_value([10**4300])


def test_values_may_be_nested_as_deep_as_the_limit_and_no_deeper() -> None:
    deepest = nested(DEPTH_MAX)
    assert decode_value(encode_value(deepest)) == deepest
    for deep in (nested(DEPTH_MAX + 1), {"a": nested(DEPTH_MAX)}):
        with pytest.raises(CodecError, match="deep"):
            encode_value(deep)


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    value = [[index, "[[[[{{", {"a\\": '"['}] for index in range(200)]
    assert decode_value(encode_value(value)) == value


@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 500, 5_000, 100_000])
def test_deeply_nested_text_is_refused(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth):
        with pytest.raises(CodecError, match="deep"):
            decode_value(text)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(CodecError, match="itself"):
        encode_value(value)


def test_arguments_and_results_have_their_limits() -> None:
    fits = "a" * (RESULT_MAX - 2)
    assert len(encode_value(fits)) == RESULT_MAX
    with pytest.raises(LimitExceededError, match="65,537 bytes"):
        encode_value(fits + "a")
    with pytest.raises(LimitExceededError, match="262,144"):
        encode_params(Params(("ä" * (PARAM_MAX // 2),)))


# -- Errors' texts


def test_a_short_error_is_kept_whole() -> None:
    assert cut_error("ValueError: ä") == "ValueError: ä"


def test_a_long_error_keeps_its_head_and_its_tail() -> None:
    cut = cut_error("head" + "ä" * 50_000 + "tail")
    assert cut.startswith("head")
    assert cut.endswith("tail")
    assert "cut" in cut
    assert ERROR_MAX - 4 <= len(cut.encode()) <= ERROR_MAX


def test_an_error_text_can_always_be_stored() -> None:
    assert cut_error("a\0b\ud800") == "a\\0b\\ud800"


# -- Hostile text


def test_a_thousand_hostile_payloads_import_run_and_open_nothing() -> None:
    script = Path(__file__).with_name("hostile_payloads.py")
    done = subprocess.run([sys.executable, str(script)], check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1000 payloads, 0 events")
