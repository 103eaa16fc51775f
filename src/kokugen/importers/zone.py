"""The time zone of this machine, by its name: the one that its cron runs in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kokugen.errors import OptionError
from kokugen.zones import load_zone

LOCALTIME = Path("/etc/localtime")
AMONG_ZONES = re.compile(r".*/zoneinfo/(?P<name>.+)")


def local_zone() -> str:
    """Return the IANA name of the machine's zone: TZ's, else that of /etc/localtime; without either UTC.

    Raises OptionError where it has no name.
    """
    named = os.environ.get("TZ", "").removeprefix(":")
    if not named and not LOCALTIME.exists():
        return "UTC"
    found = AMONG_ZONES.fullmatch(named or os.path.realpath(LOCALTIME))
    name = found["name"] if found else named
    try:
        return load_zone(name).key
    except (LookupError, ValueError, OSError):
        raise OptionError("the zone of this machine has no IANA name: say --tz, such as Europe/Berlin") from None
