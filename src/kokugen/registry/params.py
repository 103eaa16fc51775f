"""Work functions in the seed's form, `(cancelled, stopping, scheduled_time[, param])`, as work.

A registry holds what `param_work` makes of such a function; the engine runs it like any other work. The param is read
as its annotated type, as the seed's `ParamUnmarshaller` does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

from msgspec import Raw

from kokugen.codec import split_params
from kokugen.errors import CodecError, OptionError
from kokugen.options import Options
from kokugen.registry.signature import Signature, inspected
from kokugen.registry.work import Work, own_name
from kokugen.run import Signal, current_run

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

WorkFn = Callable[[Signal, Signal, datetime], R]
"""The seed's `WorkFn`: this run is to stop, the scheduler is stopping, the time that was asked for."""
WorkFnWParam = Callable[[Signal, Signal, datetime, T], R]
"""The seed's `WorkFnWParam`: the same, and the task's param."""


@overload
def param_work(
    fn: WorkFnWParam[T, Coroutine[Any, Any, R]], work_id: str | None = None, declared: Options | None = None
) -> ParamWork[[T], R]: ...
@overload
def param_work(
    fn: WorkFnWParam[T, R], work_id: str | None = None, declared: Options | None = None
) -> ParamWork[[T], R]: ...
@overload
def param_work(
    fn: WorkFn[Coroutine[Any, Any, R]], work_id: str | None = None, declared: Options | None = None
) -> ParamWork[[], R]: ...
@overload
def param_work(fn: WorkFn[R], work_id: str | None = None, declared: Options | None = None) -> ParamWork[[], R]: ...
def param_work(fn: Callable[..., Any], work_id: str | None = None, declared: Options | None = None) -> Any:
    """Return a function of the seed's form as work, async or not; its id is `work_id`, or its name.

    Raises OptionError for a function of another form, or without a lasting name.
    """
    _takes_param(fn)
    return ParamWork(work_id or own_name(fn), fn, declared)


class ParamWork(Work[P, R]):
    """Work that is called with its run's signals and time, and one param, or none.

    The param is the single positional argument; or all keyword arguments, as one mapping; or None where a task has no
    arguments. What it is scheduled with is checked as for any work.
    """

    def __init__(self, work_id: str, fn: Callable[..., Any], declared: Options | None = None) -> None:
        super().__init__(work_id, fn, declared, look=ParamSignature)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function as part of the run that is under way here. Raises NoRunError outside of one."""
        return self.call(args, kwargs)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run = current_run()
        return self.fn(run.cancelled, run.stopping, run.scheduled_time, *args, **kwargs)


class ParamSignature(Signature):
    """What a function of the seed's form takes of its task: one param, or none."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__(fn)
        self._reader = self._readers(4)[3] if _takes_param(fn) else None

    def __str__(self) -> str:
        return "no param" if self._reader is None else "one param"

    def fits(self, given: int, kwargs: Mapping[str, Any]) -> bool:
        return given + bool(kwargs) <= (self._reader is not None)

    def misfit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        return f"{len(args)} positional and {len(kwargs)} keyword arguments are not {self}"

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {"param": args[0] if args else dict(kwargs) or None}

    def read(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        split = split_params(param)
        if not self.fits(len(split.args), split.kwargs):
            raise CodecError(f"the stored arguments do not fit: {self.misfit(split.args, split.kwargs)}")
        if self._reader is None:
            return (), {}
        if split.args:
            return (self._reader.read(split.args[0], "$.args[0]"),), {}
        if split.kwargs:
            return (self._reader.read(split.mapping(), "$.kwargs"),), {}
        return (self._reader.read(Raw(b"null")),), {}

    def check(self, param: str) -> None:
        self.read(param)


def _takes_param(fn: Callable[..., Any]) -> bool:
    """Return whether a function of the seed's form takes a param too. Raises OptionError for another form."""
    takes = inspected(fn)
    for count in (4, 3):
        try:
            takes.bind(*range(count))
        except TypeError:
            continue
        return count == 4
    form = "(cancelled, stopping, scheduled_time[, param])"
    raise OptionError(f"param_work is for functions of the form {form}, and this one takes {takes}")
