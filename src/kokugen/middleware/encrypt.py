"""Encrypts the arguments and results that are stored, with AES-256-GCM. Needs `cryptography`, the extra `encryption`.

Stored is `"aes-gcm:KEY ID:BASE64"`, a JSON string. What is authenticated with it says which payload of which task, of
which work and namespace it is: nowhere else can it be opened.
"""

from __future__ import annotations

import hmac
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kokugen.errors import SealError
from kokugen.middleware.base import Middleware
from kokugen.middleware.keys import Keys
from kokugen.middleware.payloads import Binding

SCHEME = "aes-gcm"
NONCE = 12
_SEALED = re.compile(rf'"{SCHEME}:([A-Za-z0-9_.\-]+):([A-Za-z0-9_\-]+=*)"')


class EncryptMiddleware(Middleware):
    """Encrypts with the first of `keys`, and opens with any of them; each is 32 random bytes, by an id of yours.

    With it no text of an error is stored, which may quote what is encrypted: where it was raised, and its class, are.
    What was stored in plain text is refused, its task held; `accept_plain=True` takes it, while such tasks are left.
    """

    conceals = True

    def __init__(
        self,
        keys: Mapping[str, bytes],
        *,
        accept_plain: bool = False,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._keys = Keys("EncryptMiddleware", keys)
        self._accept_plain = accept_plain
        self._random_bytes = random_bytes

    def seal(self, text: str, binding: Binding) -> str:
        name = self._keys.current
        key, about = self._keys[name], binding.data(SCHEME, name)
        nonce = self._nonce(key, about, text, binding)
        sealed = urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, text.encode(), about)).decode()
        return f'"{SCHEME}:{name}:{sealed}"'

    def unseal(self, text: str, binding: Binding) -> str:
        found = _SEALED.fullmatch(text)
        if found is None:
            if self._accept_plain and not text.startswith(f'"{SCHEME}:'):
                return text
            raise SealError("it is not encrypted, and only what is encrypted is taken here")
        name = found[1]
        key = self._keys[name]
        try:
            sealed = urlsafe_b64decode(found[2])
            if urlsafe_b64encode(sealed).decode() != found[2]:
                raise ValueError("bits that mean nothing are set")
            return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], binding.data(SCHEME, name)).decode()
        except (InvalidTag, ValueError):
            raise SealError(
                f"what is encrypted with the key {name!r} was changed, or belongs to another task, work or namespace"
            ) from None

    def _nonce(self, key: bytes, about: bytes, text: str, binding: Binding) -> bytes:
        """Return a random nonce; for a template one that its text decides, so that the same is stored as the same."""
        if binding.kind != "template":
            return self._random_bytes(NONCE)
        return hmac.digest(key, len(about).to_bytes(4, "big") + about + text.encode(), "sha256")[:NONCE]
