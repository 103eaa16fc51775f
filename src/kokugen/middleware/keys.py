"""The keys that seal what is stored, by their ids: one seals, all open, so that a key can be replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kokugen.errors import OptionError, SealError

BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_.\-]{1,50}")


class Keys:
    """Keys by id; the first seals. Raises OptionError unless each has 32 bytes, and none is another's."""

    def __init__(self, owner: str, keys: Mapping[str, bytes]) -> None:
        for name, key in keys.items():
            if not isinstance(name, str) or not _ID.fullmatch(name):
                raise OptionError(f"{owner}: the key id {name!r} is not allowed: use 1 to 50 of A-Z a-z 0-9 _ . -")
            if not isinstance(key, bytes) or len(key) != BYTES:
                raise OptionError(f"{owner}: the key {name!r} is to be {BYTES} bytes: secrets.token_bytes({BYTES})")
        if not keys or len(set(keys.values())) < len(keys):
            raise OptionError(f"{owner}: give at least one key, {{'2026': secrets.token_bytes({BYTES})}}, none twice")
        self._keys = dict(keys)
        self.current = next(iter(keys))

    def __getitem__(self, name: str) -> bytes:
        """Return a key. Raises SealError for one that is not here."""
        key = self._keys.get(name)
        if key is None:
            known = ", ".join(self._keys)
            raise SealError(f"it is sealed with the key {name!r}, and there are only {known} here: add that key")
        return key

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._keys)}>"
