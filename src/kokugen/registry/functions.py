"""Functions declared as work, with or without a scheduler: `@works.work`.

The scheduler looks up what it is asked to schedule here, the engine what it is to run.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from threading import Lock
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from kokugen.errors import DuplicateWorkError, OptionError
from kokugen.options import DeclaredOptions, Options, check_name
from kokugen.registry.work import AsyncWork, SyncWork, Work, as_work, make_work, own_name

__all__ = ["AsyncWork", "Declaration", "FunctionRegistry", "SyncWork", "Work", "as_work"]

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W", bound=Work[..., Any])


class WorkDecorator(Protocol):
    """The type of `FunctionRegistry.work`: a decorator, with options or without."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWork[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncWork[P, R]: ...
    @overload
    def __call__(
        self, *, id: str | None = None, aliases: Sequence[str] = (), **options: Unpack[DeclaredOptions]
    ) -> Declaration: ...


class FunctionRegistry:
    """The work of an application, by id and alias. An id that is taken is refused; nothing is replaced."""

    def __init__(self) -> None:
        self._works: dict[str, Work[..., Any]] = {}
        self._ids: frozenset[str] = frozenset()
        self._lock = Lock()

    @overload
    def work(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWork[P, R]: ...
    @overload
    def work(self, fn: Callable[P, R], /) -> SyncWork[P, R]: ...
    @overload
    def work(
        self, *, id: str | None = None, aliases: Sequence[str] = (), **options: Unpack[DeclaredOptions]
    ) -> Declaration: ...
    def work(  # type: ignore[misc]  # mypy does not see that **options takes a TypedDict's keys
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        id: str | None = None,  # noqa: A002 - the word of the design
        aliases: Sequence[str] = (),
        **options: Unpack[DeclaredOptions],
    ) -> Any:
        """Declare a function as work: `@works.work`, or `@works.work(id="…", queue="…", …)`.

        The work id is `id`, or the function's name; `aliases` are ids that stored tasks may still have.
        Raises DuplicateWorkError where one of them is taken, OptionError for a value that is not allowed.
        """
        if unknown := set(options) - DeclaredOptions.__annotations__.keys():
            known = ", ".join(DeclaredOptions.__annotations__)
            raise OptionError(f"there is no option {min(unknown)!r} of a work: use id, aliases, {known}")
        declaration = Declaration(self, id, tuple(aliases), Options().merged(**options))
        return declaration if fn is None else declaration(fn)

    def add(self, work: W, aliases: Sequence[str] = ()) -> W:
        """Add work that was made elsewhere, such as `param_work(…)`. Raises DuplicateWorkError."""
        names = (work.id, *(check_name("alias", alias) for alias in aliases))
        with self._lock:
            for at, name in enumerate(names):
                first = self._works.get(name) or (work if name in names[:at] else None)
                if first is not None:
                    where = f"{first.id!r}, declared at {_place(first.fn)}"
                    raise DuplicateWorkError(f"work id {name!r} is taken by {where}: choose another")
            self._works.update(dict.fromkeys(names, work))
            self._ids = frozenset(self._works)
        return work

    def load(self, work_id: str) -> Work[..., Any] | None:
        return self._works.get(work_id)

    def work_ids(self) -> frozenset[str]:
        return self._ids

    def __contains__(self, work_id: object) -> bool:
        return work_id in self._works

    def __iter__(self) -> Iterator[Work[..., Any]]:
        """Yield each work once, in the order of declaration."""
        return iter([work for name, work in list(self._works.items()) if name == work.id])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Declaration:
    """A decorator that declares a function as work."""

    def __init__(
        self, registry: FunctionRegistry, work_id: str | None, aliases: tuple[str, ...], options: Options
    ) -> None:
        self._registry = registry
        self._work_id = work_id
        self._aliases = aliases
        self._options = options

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncWork[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncWork[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Any:
        """Declare it, and return it as work."""
        plain = fn.__func__ if isinstance(fn, staticmethod) else fn
        work_id = own_name(plain) if self._work_id is None else self._work_id
        return self._registry.add(make_work(work_id, plain, self._options), self._aliases)


def _place(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)
