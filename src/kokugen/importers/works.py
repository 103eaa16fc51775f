"""From the name that a source has for a function to the id of work: as the user said, else the function's own name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kokugen.errors import OptionError
from kokugen.importers.found import Found, NotCarriedError
from kokugen.options import NAME


def work_id_of(reference: str, works: Mapping[str, str]) -> str:
    """Return the work of `shop.jobs:send` or `shop.jobs.send`: what `works` says, else `send`.

    Raises NotCarriedError where that can be no id.
    """
    work_id = works.get(reference) or re.split(r"[.:]", reference)[-1]
    if not NAME.fullmatch(work_id):
        raise NotCarriedError(f"{work_id!r} can be no work id: say --work {reference}=ID")
    return work_id


def mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Return what `OLD=NEW` pairs say. Raises OptionError."""
    works: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.rpartition("=")
        if not equals or not old or not NAME.fullmatch(new):
            raise OptionError(f"--work {pair!r}: write OLD=ID, such as shop.jobs:send=send")
        if works.setdefault(old, new) != new:
            raise OptionError(f"--work {old} is given twice")
    return works


def check(found: Iterable[Found], works: Mapping[str, str]) -> None:
    """Raise OptionError where two entries are schedules of one name, or two functions would be one work unasked."""
    names: dict[str, str] = {}
    functions: dict[str, str] = {}
    for one in found:
        if one.name in names:
            raise OptionError(f"{names[one.name]} and {one.source} would both be the schedule {one.name!r}")
        names[one.name] = one.source
        work_id = one.param.work_id
        other = functions.setdefault(work_id, one.function)
        if other != one.function and not {other, one.function} <= works.keys():
            raise OptionError(
                f"{other} and {one.function} would both be the work {work_id!r}: say --work {one.function}=ID"
            )
