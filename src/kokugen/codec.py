"""User values as JSON text and back: arguments, results, errors. The only module that reads or writes them.

Work (`kokugen.registry`) writes arguments here when scheduling and reads them back, as the annotated types,
when running; task storages and faces read them as plain values. Text is only ever data: it names no class and
runs nothing.

What may be written: None, bool, int, float (finite), str, bytes (as base64), datetime and the like,
timedelta, UUID, Decimal, enums, lists, tuples, sets, dicts, dataclasses, TypedDicts, NamedTuples, msgspec
Structs, attrs classes, pydantic models, paths, complex numbers (as a pair). Read as plain values they are
what JSON has; read as their type they are themselves again. Integers of up to 4,300 digits come back;
longer ones are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from math import isfinite
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from kokugen.errors import CodecError, LimitExceededError
from kokugen.task import Params

NO_PARAMS = "{}"
"""How a call without arguments is stored."""
PARAM_MAX = 256 * 1024
"""Bytes of a task's arguments."""
RESULT_MAX = 64 * 1024
"""Bytes of a result."""
ERROR_MAX = 8 * 1024
"""Bytes of the text of an error; longer ones are cut."""
DEPTH_MAX = 64
"""How deep lists and objects may lie inside each other."""

_CUT_HEAD = 2 * 1024
_CUT_NOTE = "\n[… cut …]\n"
_NOT_A_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[^\[\]{}"]+', re.DOTALL)
_BASES: dict[type, Callable[[Any], Any]] = {str: str.__str__, int: int.__int__, float: float.__float__}
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


class _PlainParams(Struct, forbid_unknown_fields=True, omit_defaults=True):
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = {}


class RawParams(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Arguments taken apart, each still text, to be read as its own type."""

    args: list[Raw] = []
    kwargs: dict[str, Raw] = {}

    def mapping(self) -> Raw:
        """Return the keyword arguments as the text of one object."""
        return Raw(_ENCODER.encode(self.kwargs))


def encode_params(params: Params) -> str:
    """Return arguments as `{"args":[…],"kwargs":{…}}`, empty parts left out. Raises CodecError."""
    return _encode(_PlainParams(params.args, params.kwargs), PARAM_MAX, "arguments")


def decode_params(text: str) -> Params:
    """Return stored arguments as plain values. Raises CodecError, also where an object names a key twice."""
    plain: _PlainParams = _PLAIN.read(text)
    _refuse_duplicates(text, plain)
    return Params(tuple(plain.args), plain.kwargs)


def split_params(text: str) -> RawParams:
    """Return stored arguments, each to be read as its own type by a `Reader`. Raises CodecError as `decode_params`."""
    split: RawParams = _SPLIT.read(text)
    _refuse_duplicates(text, _ANY.read(text))
    return split


def with_argument(text: str, name: str, value: str) -> str:
    """Return stored arguments with one more keyword argument, whose value is JSON text.

    Arguments that cannot be read are returned as they are: they are refused where they are read.
    """
    try:
        split: RawParams = _SPLIT.read(text)
    except CodecError:
        return text
    split.kwargs[name] = Raw(value.encode())
    return _ENCODER.encode(split).decode()


def encode_value(value: Any, size_max: int = RESULT_MAX) -> str:
    """Return a value as JSON text of at most `size_max` bytes. Raises CodecError."""
    return _encode(value, size_max, "value")


def decode_value(text: str, kind: Any = Any) -> Any:
    """Return the value of JSON text, read as the type `kind`.

    Raises CodecError; for plain values (`Any`) also where an object names a key twice.
    """
    if kind is not Any:
        return Reader(kind).read(text)
    value = _ANY.read(text)
    _refuse_duplicates(text, value)
    return value


def cut_error(text: str) -> str:
    """Return the text of an error as every store takes it: UTF-8, no NUL, of a long one head and tail."""
    data = text.replace("\0", "\\0").encode("utf-8", "backslashreplace")
    if len(data) <= ERROR_MAX:
        return data.decode()
    tail = ERROR_MAX - _CUT_HEAD - len(_CUT_NOTE.encode())
    return data[:_CUT_HEAD].decode(errors="ignore") + _CUT_NOTE + data[-tail:].decode(errors="ignore")


class Reader:
    """Reads JSON text as one type. Making one raises CodecError where text can't tell its values apart."""

    __slots__ = ("decode",)

    def __init__(self, kind: Any) -> None:
        self.decode: Callable[[str | Raw], Any]
        """Return the value; raises whatever it raises."""
        try:
            self.decode = msgspec.json.Decoder(_readable(kind), dec_hook=_revive).decode
        except (TypeError, ValueError, RecursionError) as error:
            raise CodecError(f"{_name(kind)} cannot be read from JSON: {error}") from error

    @classmethod
    def refusing(cls, reason: str) -> Reader:
        """Return a reader that refuses whatever it is to read."""

        def refuse(_: str | Raw) -> NoReturn:
            raise CodecError(reason)

        reader = cls(Any)
        reader.decode = refuse
        return reader

    def read(self, text: str | Raw, path: str = "$") -> Any:
        """Return the value. Raises CodecError with the path and the reason."""
        try:
            if isinstance(text, str):
                check_depth(text)
            return self.decode(text)
        except RecursionError:
            raise CodecError(f"cannot read the value at {path}: it is nested too deeply") from None
        except Exception as error:  # a class's own validation may raise anything
            reason = re.sub(r" - at `(key in )?\$(.*)`$", rf" (at \g<1>{path}\g<2>)", str(error))
            raise CodecError(f"cannot read the value at {path}: {reason or type(error).__name__}") from error


def check_depth(text: str) -> None:
    """Raise CodecError where JSON text is nested deeper than DEPTH_MAX."""
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    brackets = _NOT_A_BRACKET.sub("", text)
    if max(accumulate(_STEP.get(mark, 0) for mark in brackets), default=0) > DEPTH_MAX:
        raise CodecError(f"the value is nested deeper than {DEPTH_MAX} levels: flatten it")


def _encode(value: Any, size_max: int, what: str) -> str:
    try:
        data = _ENCODER.encode(value)
    except RecursionError:
        raise CodecError(f"the {what} cannot be written: nested too deeply, or containing itself") from None
    except Exception as error:  # a class's own conversion may raise anything
        path, reason = _culprit(value, "$", error)
        raise CodecError(f"the {what} cannot be written as JSON at {path}: {reason}") from error
    if len(data) > size_max:
        raise LimitExceededError(
            f"the {what} takes {len(data):,} bytes, more than {size_max:,}: store it elsewhere, pass its name"
        )
    text = data.decode()
    check_depth(text)
    if "null" in text:
        _refuse_unreal(msgspec.to_builtins(value, enc_hook=_plain, str_keys=True), "$")
    return text


def _culprit(value: Any, path: str, error: Exception) -> tuple[str, str]:
    """Return the path of the innermost part that cannot be written, and why."""
    for step, part in _parts(value):
        try:
            _ENCODER.encode(part)
        except Exception as inner:  # noqa: BLE001 - the error to be explained, once more
            return _culprit(part, path + step, inner)
    return path, str(error) or type(error).__name__


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f".{key}", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    else:
        names = getattr(value, "__struct_fields__", ()) or getattr(value, "__dataclass_fields__", ())
        yield from ((f".{name}", getattr(value, name)) for name in names)


def _refuse_unreal(plain: Any, path: str) -> None:
    """Refuse NaN and the infinities, which JSON does not have and msgspec would write as null."""
    if isinstance(plain, float):
        if not isfinite(plain):
            raise CodecError(f"{plain} at {path} cannot be written as JSON: pass None, or the number as text")
    elif isinstance(plain, dict | list | tuple):
        for step, part in _parts(plain):
            _refuse_unreal(part, path + step)


def _refuse_duplicates(text: str, value: Any) -> None:
    """Refuse an object that names a key twice; text that is written as we write it has none."""
    if _ENCODER.encode(value) != text.encode():
        json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise CodecError(f"cannot read the value: an object has the key {key!r} twice")
        seen.add(key)


def _plain(value: Any) -> Any:
    """Return a value that msgspec does not know as one that it does."""
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, complex):
        return (value.real, value.imag)
    for base, exact in _BASES.items():
        if isinstance(value, base):
            return exact(value)
    raise TypeError(f"objects of type {type(value).__qualname__} are not plain data; pass a dataclass, or an id")


def _revive(kind: Any, plain: Any) -> Any:
    """Return the plain value as a type that msgspec does not know."""
    if hasattr(kind, "model_validate_json"):
        return kind.model_validate_json(_ENCODER.encode(plain))
    if get_origin(kind) is Iterable or kind is Iterable:
        return msgspec.convert(plain, list[get_args(kind) or Any], dec_hook=_revive)  # type: ignore[misc]
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind(plain)
    if kind is complex:
        return complex(*msgspec.convert(plain, tuple[float, float]))
    raise TypeError(f"a {_name(kind)} cannot be made from JSON")


def _readable(kind: Any) -> Any:
    """Return the type to read for `kind`: where text can't decide a union with str, str, which it allows."""
    if get_origin(kind) not in (Union, UnionType) or str not in get_args(kind):
        return kind
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return Union[tuple(one for one in get_args(kind) if one in (str, bool, int, float, NoneType))]  # noqa: UP007
    return kind


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else str(kind)


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_ANY = Reader(Any)
_PLAIN = Reader(_PlainParams)
_SPLIT = Reader(RawParams)
