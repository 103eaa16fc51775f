"""Time zones by name, of the tzdata wheel first, so that nodes with the same wheel agree, whatever their systems are.

The standard library looks at the system's files first (PEP 615), which differ from machine to machine. Recurrence and
the command line load zones here; a `ZoneInfo` that a caller made is the caller's.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")

SYSTEM = "system"
"""What `tz_version` says where the wheel is missing and zones come from the system's files."""


@cache
def load_zone(key: str) -> ZoneInfo:
    """Return the zone of an IANA name, such as "Europe/Berlin".

    Raises ZoneInfoNotFoundError (a KeyError) where there is none, and ValueError for what can be no name.
    """
    if not _NAME.fullmatch(key):
        return ZoneInfo(key)  # which says what is wrong with it
    try:
        with resources.files("tzdata").joinpath("zoneinfo", *key.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, key=key)
    except (ImportError, OSError, ValueError):
        return _system_zone(key)


def _system_zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except OSError as error:  # a folder, such as "Europe"
        raise ZoneInfoNotFoundError(f"No time zone found with key {key}") from error


@cache
def tz_version() -> str:
    """Return the version of the time zone rules that this process uses, such as "2026.6"; "system" without the wheel.

    Nodes with different versions may disagree on when a local time comes, from the date of a changed rule on.
    """
    try:
        return version("tzdata")
    except PackageNotFoundError:
        return SYSTEM
