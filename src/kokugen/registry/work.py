"""Work: a callable with an id and options, whose arguments and result can be written down.

A registry (`kokugen.registry.functions`) makes it from a function and hands it to the scheduler, which
encodes arguments with it, and to the engine, which decodes them and calls it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Coroutine
from functools import cache, lru_cache, partial, update_wrapper
from types import CoroutineType, MethodType
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast, overload

from kokugen.codec import NO_PARAMS, encode_params, encode_value
from kokugen.errors import CodecError, LimitExceededError, OptionError, WorkArgumentsError
from kokugen.options import OptionChanges, Options, check_name
from kokugen.registry import protocol
from kokugen.registry.signature import Signature
from kokugen.task import Params

P = ParamSpec("P")
R = TypeVar("R")


class Work(Generic[P, R]):
    """Work with the parameters P and the result R; of an `async def` R is what it is awaited for.

    It satisfies `kokugen.registry.protocol.Work`. `fn` is the callable, and what calling the work calls.
    """

    __name__: str
    __wrapped__: Callable[..., Any]

    def __init__(
        self,
        work_id: str,
        fn: Callable[..., Any],
        declared: Options | None = None,
        *,
        look: Callable[[Callable[..., Any]], Signature] = Signature,
    ) -> None:
        update_wrapper(self, fn, updated=())
        self.id = check_name("work id", work_id)
        self.fn = fn
        self.is_async = is_async(fn)
        self.declared = declared or Options()
        self.signature = cache(partial(look, fn))
        """Return its signature, looked at on first use: an annotation may name what is defined later."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function here and now, as if it were no work."""
        return self.fn(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        """Be a method where it is declared in a class."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def options(self, **changes: Unpack[OptionChanges]) -> Self:
        """Return this work with some options changed, to schedule with. Raises OptionError."""
        bound = copy.copy(self)
        bound.declared = self.declared.changed(**changes)
        return bound

    def named(self, work_id: str) -> Self:
        """Return this work under another id, as a registry of registries knows it."""
        bound = copy.copy(self)
        bound.id = check_name("work id", work_id)
        return bound

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return arguments as stored text; what is returned was also read back as the annotated types.

        Raises WorkArgumentsError where they do not fit, cannot be written, or would be refused when running,
        and LimitExceededError where they are too large.
        """
        signature = self.signature()
        if not signature.fits(len(args), kwargs):
            raise self._refused(signature.misfit(args, kwargs))
        return self._encode(args, kwargs)

    def encode_but(self, later: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return arguments as `encode` does, without the one called `later`, which the task is given when it is due."""
        signature = self.signature()
        whole = {**kwargs, later: None}
        if not signature.fits(len(args), whole):
            raise self._refused(signature.misfit(args, whole))
        return self._encode(args, kwargs)

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if not args and not kwargs:
            return NO_PARAMS
        try:
            text = encode_params(Params(args, kwargs))
            self.signature().check(text)
        except LimitExceededError:
            raise
        except CodecError as error:
            raise self._refused(str(error)) from error
        return text

    def decode(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self.signature().read(param)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.fn(*args, **kwargs)

    def encode_result(self, value: Any) -> str | None:
        return None if value is None else encode_value(value)

    def decode_result(self, text: str | None) -> Any:
        return None if text is None else self.signature().result.read(text)

    def _refused(self, reason: str) -> WorkArgumentsError:
        takes = self.signature()
        return WorkArgumentsError(f"work {self.id!r} cannot be scheduled with these: {reason}; it takes {takes}")


class SyncWork(Work[P, R]):
    """Work that is a plain function: it runs on a thread."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now, as if it were no work."""
        return cast("R", self.fn(*args, **kwargs))

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.fn(*args, **kwargs)
        if type(result) is CoroutineType:
            result.close()
            raise OptionError(f"work {self.id!r} returned a coroutine that nobody awaits: make it an async def")
        return result


class AsyncWork(Work[P, R]):
    """Work that is an `async def`: it runs on an event loop."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function here and now, as if it were no work."""
        return cast("Coroutine[Any, Any, R]", self.fn(*args, **kwargs))


def own_name(fn: Callable[..., Any]) -> str:
    """Return the name that stored tasks can go by: of anything that was defined with a name."""
    name = getattr(fn, "__name__", None)
    if name is None or name == "<lambda>":
        raise OptionError(f"{fn!r} has no lasting name to store, so give it one: @work(id='…')")
    return cast("str", name)


def as_work(work_id: str, loaded: Callable[..., Any] | protocol.Work) -> protocol.Work:
    """Return what a registry loaded as work: work as it is, any other callable as work made once for it."""
    if isinstance(loaded, Work):
        return loaded
    try:
        return _adapted_once(work_id, cast("Any", loaded))
    except TypeError:  # not hashable
        return _adapted(work_id, loaded)


def _adapted(work_id: str, loaded: Callable[..., Any] | protocol.Work) -> protocol.Work:
    return loaded if isinstance(loaded, protocol.Work) else make_work(work_id, loaded)


_adapted_once = lru_cache(maxsize=1024)(_adapted)


def is_async(fn: Callable[..., Any]) -> bool:
    """Return whether calling `fn` gives a coroutine."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def make_work(work_id: str, fn: Callable[..., Any], declared: Options | None = None) -> Work[..., Any]:
    """Return a callable as work. Raises OptionError for one that yields: its body would never run."""
    if not callable(fn):
        raise OptionError(f"work {work_id!r} is to be a function, and this is a {type(fn).__name__}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise OptionError(f"work {work_id!r} yields, so that calling it runs nothing: return a value instead")
    kind = AsyncWork if is_async(fn) else SyncWork
    return kind(work_id, fn, declared)
