"""Carries context variables from the code that schedules to the runs of what it schedules: the tenant, the user, …"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from kokugen.errors import OptionError
from kokugen.middleware.carry import CarryMiddleware

HEADER = "context"


class ContextMiddleware(CarryMiddleware):
    """Sets these variables around the work to what they were when its task was scheduled.

    They are stored with the task as JSON, by their names, and come back as plain JSON values. One that was not set
    then is left alone; so is one that was stored, and that is not named here any more.
    """

    def __init__(self, *variables: ContextVar[Any]) -> None:
        by_name = {one.name: one for one in variables}
        if not variables or len(by_name) < len(variables):
            raise OptionError("ContextMiddleware(…): name the context variables to carry, each with a name of its own")
        super().__init__(HEADER, partial(_values, by_name), partial(_set, by_name), kind=dict[str, Any])


def _values(variables: Mapping[str, ContextVar[Any]]) -> dict[str, Any] | None:
    """Return the values of those that are set."""
    unset = object()
    found = {name: one.get(unset) for name, one in variables.items()}
    return {name: value for name, value in found.items() if value is not unset} or None


@contextmanager
def _set(variables: Mapping[str, ContextVar[Any]], values: Mapping[str, Any]) -> Iterator[None]:
    tokens = [(variables[name], variables[name].set(value)) for name, value in values.items() if name in variables]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)
