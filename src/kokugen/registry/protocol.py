"""What a work registry is: from a work id to work. Stored data names no Python object, only an id looked up here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from kokugen.options import Options


@runtime_checkable
class Work(Protocol):
    """Work as the engine runs it: how to read its stored arguments, call it, and write its result."""

    @property
    def id(self) -> str:
        """Return the work id."""
        ...

    @property
    def is_async(self) -> bool:
        """Return whether `call` returns an awaitable, to be run on an event loop."""
        ...

    @property
    def declared(self) -> Options:
        """Return the options declared for it, with what `options(…)` changed."""
        ...

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the arguments as stored text. Raises WorkArgumentsError where they do not fit, CodecError."""
        ...

    def decode(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments, decoded to the annotated types. Raises CodecError with the path and the reason."""
        ...

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the work; async work returns its awaitable."""
        ...

    def encode_result(self, value: Any) -> str | None:
        """Return a result as stored text, None for None. Raises CodecError."""
        ...

    def decode_result(self, text: str | None) -> Any:
        """Return a stored result, decoded to the annotated type."""
        ...


@runtime_checkable
class WorkRegistry(Protocol):
    """The seed's `WorkRegistry`. Anything with a `load` will do; a plain callable that it returns is run as work."""

    def load(self, work_id: str) -> Work | Callable[..., Any] | None:
        """Return the work with this id, or None where there is none here."""
        ...


@runtime_checkable
class ListedWorkRegistry(WorkRegistry, Protocol):
    """A registry that can also list its ids: then only tasks that it knows are claimed at all."""

    def work_ids(self) -> frozenset[str]:
        """Return every id that `load` answers, aliases included."""
        ...
