"""What is stored of arguments and results, sealed on its way to the store and opened on its way back.

Guards among the middleware (`PayloadGuard`) do it: `kokugen.acceptance` seals arguments, the work of a run
(`SealedWork`) opens them and seals the result, and `kokugen.front` opens that. Without a guard there is none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from kokugen.errors import SealError, UndecodableError
from kokugen.options import Options
from kokugen.registry.protocol import Work
from kokugen.run import Run, RunTask

NULL = "null"


class Binding(Struct, frozen=True):
    """Where a payload belongs, and is good for nothing anywhere else.

    `kind` is `param` or `result`, of one task; or `template`, the arguments of a schedule, without a task id.
    """

    kind: str
    namespace: str
    task_id: str
    work_id: str

    def data(self, *about: str) -> bytes:
        """Return it, with what else is to be authenticated, as bytes that nothing else has."""
        return msgspec.json.encode([*about, self.kind, self.namespace, self.task_id, self.work_id])


@runtime_checkable
class PayloadGuard(Protocol):
    """A middleware that changes what is stored of arguments and results: that encrypts, or signs."""

    @property
    def conceals(self) -> bool:
        """Return whether nobody without it is to read them, so that the texts of errors are not stored either."""
        ...

    def seal(self, text: str, binding: Binding) -> str:
        """Return JSON text to store in binding of JSON text."""
        ...

    def unseal(self, text: str, binding: Binding) -> str:
        """Return the text that was sealed for this binding. Raises SealError."""
        ...


class Payloads:
    """The guards of one scheduler; the first is the outermost: it seals last."""

    def __init__(self, guards: Sequence[PayloadGuard], namespace: Callable[[], str]) -> None:
        self._guards = guards
        self._namespace = namespace
        self.conceals = any(guard.conceals for guard in guards)

    def seal_param(self, task_id: str, work_id: str, text: str) -> str:
        """Return arguments as they are stored; without a task id, those of a schedule's tasks to come."""
        return self._seal(text, self._binding("param" if task_id else "template", task_id, work_id))

    def open_param(self, task_id: str, work_id: str, text: str) -> str:
        """Return the arguments of a task: its own, or those of the schedule that it is of. Raises SealError."""
        try:
            return self._open(text, self._binding("param", task_id, work_id))
        except SealError as refusal:
            try:
                return self._open(text, self._binding("template", "", work_id))
            except SealError:
                raise refusal from None

    def seal_result(self, task_id: str, work_id: str, text: str | None) -> str:
        """Return a result as it is stored; that there is none is sealed, too."""
        return self._seal(NULL if text is None else text, self._binding("result", task_id, work_id))

    def open_result(self, task_id: str, work_id: str, text: str | None) -> str | None:
        """Return the result of a task. Raises SealError."""
        opened = self._open(NULL if text is None else text, self._binding("result", task_id, work_id))
        return None if opened == NULL else opened

    def work_of(self, task: RunTask, work: Work) -> SealedWork:
        """Return the work of one run, which opens and seals."""
        return SealedWork(self, task, work)

    def _binding(self, kind: str, task_id: str, work_id: str) -> Binding:
        return Binding(kind, self._namespace(), task_id, work_id)

    def _seal(self, text: str, binding: Binding) -> str:
        for guard in reversed(self._guards):
            text = guard.seal(text, binding)
        return text

    def _open(self, text: str, binding: Binding) -> str:
        for guard in self._guards:
            text = guard.unseal(text, binding)
        return text


class SealedWork:
    """The work of one run: its arguments are opened before they are read, and its result is sealed once written."""

    __slots__ = ("_payloads", "_task", "call", "declared", "encode", "id", "inner", "is_async")

    def __init__(self, payloads: Payloads, task: RunTask, work: Work) -> None:
        self._payloads = payloads
        self._task = task
        self.inner = work
        self.id: str = work.id
        self.is_async: bool = work.is_async
        self.declared: Options = work.declared
        self.call = work.call
        self.encode = work.encode

    def decode(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self.inner.decode(self.opened(param))

    def opened(self, param: str) -> str:
        """Return the arguments as they were written. Raises SealError."""
        return self._payloads.open_param(self._task.id, self._task.work_id, param)

    def encode_result(self, value: Any) -> str | None:
        text = self.inner.encode_result(value)
        return self._payloads.seal_result(self._task.id, self._task.work_id, text)

    def decode_result(self, text: str | None) -> Any:
        return self.inner.decode_result(self._payloads.open_result(self._task.id, self._task.work_id, text))


def opened_param(run: Run) -> str:
    """Return the arguments of a run as its work reads them, for a process that has no keys. Raises UndecodableError."""
    if not isinstance(run.work, SealedWork):
        return run.param
    try:
        return run.work.opened(run.param)
    except SealError as error:
        raise UndecodableError(str(error)) from error


def payloads_of(middleware: Sequence[object], namespace: Callable[[], str]) -> Payloads | None:
    """Return what seals and opens, where a guard is among the middleware."""
    guards = [one for one in middleware if isinstance(one, PayloadGuard)]
    return Payloads(guards, namespace) if guards else None
