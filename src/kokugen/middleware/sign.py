"""Signs the arguments and results that are stored, with HMAC-SHA256: they can be read by all, and changed by nobody.

Stored is `{"hmac":"KEY ID:HEX","signed":…}`. What is signed says which payload of which task, of which work and
namespace it is, as with `kokugen.middleware.encrypt`, which authenticates as well: use one of the two.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from kokugen.errors import SealError
from kokugen.middleware.base import Middleware
from kokugen.middleware.keys import Keys
from kokugen.middleware.payloads import Binding

SCHEME = "hmac-sha256"


class _Signed(Struct, forbid_unknown_fields=True):
    hmac: str
    signed: Raw


class SignMiddleware(Middleware):
    """Signs with the first of `keys`, and takes what any of them signed; each is 32 random bytes, by an id of yours.

    What is not signed is refused, its task held; `accept_plain=True` takes it, while such tasks are left.
    """

    conceals = False

    def __init__(self, keys: Mapping[str, bytes], *, accept_plain: bool = False) -> None:
        self._keys = Keys("SignMiddleware", keys)
        self._accept_plain = accept_plain

    def seal(self, text: str, binding: Binding) -> str:
        name = self._keys.current
        return f'{{"hmac":"{name}:{self._tag(name, text.encode(), binding)}","signed":{text}}}'

    def unseal(self, text: str, binding: Binding) -> str:
        try:
            found = msgspec.json.decode(text, type=_Signed)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            if self._accept_plain and not text.startswith('{"hmac":'):
                return text
            raise SealError("it is not signed, and only what is signed is taken here") from None
        name, _, tag = found.hmac.rpartition(":")
        signed = bytes(found.signed)
        if not hmac.compare_digest(self._tag(name, signed, binding).encode(), tag.encode()):
            raise SealError(
                f"what is signed with the key {name!r} was changed, or belongs to another task, work or namespace"
            )
        return signed.decode()

    def _tag(self, name: str, text: bytes, binding: Binding) -> str:
        about = binding.data(SCHEME, name)
        return hmac.digest(self._keys[name], len(about).to_bytes(4, "big") + about + text, "sha256").hex()
