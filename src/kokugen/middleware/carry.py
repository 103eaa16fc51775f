"""Carries a value of the scheduling code along to the runs of what it schedules: the language of a request, say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kokugen.codec import decode_value, encode_value
from kokugen.middleware.base import ScheduleNext, ScheduleRequest, Surround
from kokugen.options import HEADERS_MAX, check_name
from kokugen.reply import Reply
from kokugen.run import Run
from kokugen.task import replace

Take = Callable[[], Any]
Give = Callable[[Any], AbstractContextManager[object]]


class CarryMiddleware(Surround):
    """Asks `take()` when a task is scheduled, and runs its work inside of `give(value)`, a context manager.

    The value is stored with the task as JSON, in the header `name`; `kind` is the type that it is read as. Nothing is
    stored where it is None, and then nothing is given. For Django's language:
    `CarryMiddleware("language", translation.get_language, translation.override)`.
    """

    def __init__(self, name: str, take: Take, give: Give, *, kind: Any = Any) -> None:
        self._name = check_name("header", name)
        self._take = take
        self._give = give
        self._kind = kind

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        value = self._take()
        if value is None:
            return call_next(request)
        headers = {**request.headers, self._name: encode_value(value, HEADERS_MAX)}
        return call_next(replace(request, headers=headers))

    def around(self, run: Run) -> AbstractContextManager[object]:
        text = run.headers.get(self._name)
        return nullcontext() if text is None else self._give(decode_value(text, self._kind))
