"""Where a work's function is found by import, for processes that share no memory with the node.

A reference goes from a node to the process that runs the work, and is never stored: what is stored names a work id.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from typing import Any

from msgspec import Struct

from kokugen.errors import OptionError
from kokugen.registry.params import ParamWork
from kokugen.registry.work import Work, make_work
from kokugen.run import RunWork


class Reference(Struct, frozen=True, array_like=True):
    """A function that can be imported, and how it is called: `channels` says that it is a `param_work`."""

    work_id: str
    module: str
    name: str
    channels: bool = False

    def load(self) -> Work[..., Any]:
        """Return the work. Raises OptionError where it is not found here."""
        return _loaded(self)


def reference_of(work: RunWork) -> Reference:
    """Return where another process finds this work. Raises OptionError where it would not find this very function."""
    if work.is_async:
        raise OptionError(f"work {work.id!r} is async, and another process runs sync work: let it call asyncio.run")
    fn = work.fn if isinstance(work, Work) else None
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    found = _found(sys.modules.get(module or ""), name or "")
    if fn is None or (found is not fn and not (isinstance(found, Work) and found.fn is fn)):
        raise OptionError(
            f"work {work.id!r} cannot run in another process, which finds it by importing it: "
            "make it a function at the top level of a module"
        )
    return Reference(work.id, str(module), str(name), isinstance(work, ParamWork))


def _found(module: object, name: str) -> object:
    """Return what a module calls so, None where it calls nothing so."""
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


@lru_cache(maxsize=1024)
def _loaded(reference: Reference) -> Work[..., Any]:
    where = f"{reference.module}.{reference.name}"
    advice = "it must be at the top level of a module that every process can import"
    try:
        found: Any = _found(import_module(reference.module), reference.name)
    except ImportError as error:
        raise OptionError(f"work {reference.work_id!r} is not found here as {where} ({error}): {advice}") from error
    if found is None:
        raise OptionError(f"work {reference.work_id!r} is not found here as {where}: {advice}")
    if isinstance(found, Work):
        return found
    return ParamWork(reference.work_id, found) if reference.channels else make_work(reference.work_id, found)
