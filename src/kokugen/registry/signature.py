"""Which arguments fit a callable, and how each is read back as its annotated type.

Work (`kokugen.registry.functions`) asks it when scheduling, with values, and when running, with stored text.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, ForwardRef, NoReturn, get_type_hints

from kokugen.codec import NO_PARAMS, RawParams, Reader, split_params
from kokugen.errors import CodecError

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class Signature:
    """The parameters of a callable. Stored arguments outlive them: what they lack takes today's default."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._inspected = inspected(fn)
        hints = _hints(fn)
        parameters = list(self._inspected.parameters.values())
        readers = {one.name: _reader(hints.get(one.name, Any)) for one in parameters}
        by_position = [one for one in parameters if one.kind in _BY_POSITION]
        self._positional = [readers[one.name] for one in by_position]
        by_name = [one for one in parameters if one.kind in _BY_NAME]
        self._named = {one.name: readers[one.name] for one in by_name}
        self._position = {one.name: _position(parameters.index(one), one) for one in by_name}
        self._rest = _variadic(Parameter.VAR_POSITIONAL, parameters, readers)
        self._extra = _variadic(Parameter.VAR_KEYWORD, parameters, readers)
        only_named = [one for one in parameters if one.kind is Parameter.KEYWORD_ONLY]
        self._missing = [_required(by_position[given:] + only_named) for given in range(len(by_position) + 1)]
        self.result = _result_reader(hints.get("return", Any))
        """Reads a result: as its annotated type, or as a plain value where that has no reader."""

    def __str__(self) -> str:
        return str(self._inspected)

    def fits(self, given: int, kwargs: Mapping[str, Any]) -> bool:
        """Return whether `given` positional arguments and these keyword arguments can be passed."""
        count = len(self._positional)
        if given > count and self._rest is None:
            return False
        missing = self._missing[min(given, count)]
        if not kwargs:
            return not missing
        return missing.issubset(kwargs) and self._known(given, kwargs)

    def misfit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return why these arguments do not fit, in Python's words."""
        try:
            self._inspected.bind(*args, **kwargs)
        except TypeError as error:
            return str(error)
        return "they do not fit"

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that fit by the names of their parameters, with defaults for those not given."""
        bound = self._inspected.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def read(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return stored arguments as their annotated types. Raises CodecError with path and reason."""
        if param == NO_PARAMS and not self._missing[0]:
            return (), {}
        split = split_params(param)
        if not self.fits(len(split.args), split.kwargs):
            why = self.misfit(split.args, split.kwargs)
            raise CodecError(f"the stored arguments do not fit the parameters {self}: {why}")
        return self._typed(split)

    def check(self, param: str) -> None:
        """Raise CodecError where arguments that fit would not be read again as their annotated types."""
        if param != NO_PARAMS:
            self._typed(split_params(param))

    def _typed(self, split: RawParams) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        try:
            if split.args:
                readers = self._readers(len(split.args))
                args = tuple([one.decode(raw) for one, raw in zip(readers, split.args, strict=False)])
            for name, raw in split.kwargs.items():
                kwargs[name] = self._reader_of(name).decode(raw)
        except Exception:  # noqa: BLE001 - read once more, slowly, to say which
            self._blame(split)
        return args, kwargs

    def _known(self, given: int, kwargs: Mapping[str, Any]) -> bool:
        """Return whether every keyword has a parameter that is not given by position already."""
        for name in kwargs:
            position = self._position.get(name)
            if position is None:
                if self._extra is None:
                    return False
            elif position < given:
                return False
        return True

    def _readers(self, length: int) -> list[Reader]:
        """Return readers for at least so many positions, all of which fit."""
        more = length - len(self._positional)
        if more <= 0:
            return self._positional
        assert self._rest is not None, "a position that fits has a reader"
        return self._positional + [self._rest] * more

    def _reader_of(self, name: str) -> Reader:
        reader = self._named.get(name, self._extra)
        assert reader is not None, "a name that fits has a reader"
        return reader

    def _blame(self, split: RawParams) -> NoReturn:
        """Raise CodecError for the first argument that cannot be read."""
        for at, (reader, raw) in enumerate(zip(self._readers(len(split.args)), split.args, strict=False)):
            reader.read(raw, f"$.args[{at}]")
        for name, raw in split.kwargs.items():
            self._reader_of(name).read(raw, f"$.kwargs.{name}")
        raise CodecError("the stored arguments could not be read, and then they could: their types are not steady")


def _variadic(kind: Any, parameters: list[Parameter], readers: dict[str, Reader]) -> Reader | None:
    return next((readers[one.name] for one in parameters if one.kind is kind), None)


def _position(at: int, parameter: Parameter) -> int:
    """Return at which position it may be given too: for a keyword-only parameter beyond all."""
    return at if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD else sys.maxsize


def _required(parameters: list[Parameter]) -> frozenset[object]:
    """Return what must be given by name; for a positional-only parameter something that no name equals."""
    missing = [one for one in parameters if one.default is Parameter.empty]
    return frozenset(one.name if one.kind in _BY_NAME else one for one in missing)


def _reader(hint: Any) -> Reader:
    """Return the reader of a type; where it has none, one that says why when it is needed."""
    if isinstance(hint, str | ForwardRef):
        name = hint if isinstance(hint, str) else hint.__forward_arg__
        return Reader.refusing(f"its type {name!r} is not known at run time: import it outside of TYPE_CHECKING")
    try:
        return Reader(hint)
    except CodecError as error:
        return Reader.refusing(str(error))


def _result_reader(hint: Any) -> Reader:
    try:
        return Reader(hint)
    except CodecError:
        return Reader(Any)


def inspected(fn: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters of a callable, whether or not their annotations can be resolved by now."""
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(fn, annotation_format=Format.FORWARDREF)
        return inspect.signature(fn)
    except ValueError:  # some builtins have none: whatever is given may fit
        return inspect.signature(lambda *args, **kwargs: None)  # noqa: ARG005


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of parameters and result; one that cannot be resolved stays as it is written."""
    plain = _annotated(fn)
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        written = get_annotations(plain, format=Format.FORWARDREF)
    else:
        written = getattr(plain, "__annotations__", {})
    names = getattr(plain, "__globals__", {})
    return {name: _hint(annotation, names) for name, annotation in written.items()}


def _hint(annotation: Any, names: dict[str, Any]) -> Any:
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - an annotation may be any expression
        return annotation


def _annotated(fn: Any) -> Any:
    """Return the function that holds the annotations of a callable."""
    while isinstance(fn, partial):
        fn = fn.func
    if not inspect.isroutine(fn) and not isinstance(fn, type):
        fn = type(fn).__call__
    return inspect.unwrap(fn)
