"""Whom a command runs as, where that is not the user of the node."""

from __future__ import annotations

import sys

from msgspec import Struct

from kokugen.errors import OptionError


class Account(Struct, frozen=True):
    """A user of this system."""

    name: str
    uid: int
    gid: int


def account_of(user: str) -> Account:
    """Return the account of this name. Raises OptionError where this system has none."""
    if sys.platform == "win32":
        raise OptionError(f"user={user!r}: on Windows a command runs as the user of its node")
    import pwd

    try:
        found = pwd.getpwnam(user)
    except (KeyError, TypeError, ValueError):  # a name with NUL is no name
        raise OptionError(f"user={user!r}: there is no such user on this system") from None
    return Account(found.pw_name, found.pw_uid, found.pw_gid)
