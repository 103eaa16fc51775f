"""The address of a PostgreSQL store: its URL, read once, with what is kokugen's own taken out of it.

`postgresql://user:password@host:5432/database?schema=kokugen&pooled=true&timeout=4`: all other parameters are those of
libpq that asyncpg knows (`sslmode`, `host`, `passfile`, `target_session_attrs`, …), and so are the variables PGHOST,
PGUSER and so on, where the URL leaves them out.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from kokugen.errors import OptionError
from kokugen.options import shortened
from kokugen.repository.locate import POSTGRES, mask

SCHEMA_DEFAULT = "kokugen"
SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")
PORT, PORT_MAX, PORT_DIGITS_MAX = re.compile(r":([^:,\]]+)(?=,|$)"), 65_535, 20
TIMEOUT_S = 4.0
TIMEOUT_MAX_S = 600.0
SWITCH = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


class Address(Struct, frozen=True, kw_only=True):
    """Where a store is. `dsn` holds the password, `url` is for people and does not."""

    dsn: str
    url: str
    schema: str
    pooled: bool
    """Behind a pooler that deals out connections by the transaction: no session state, no prepared statements."""
    timeout_s: float
    """Within this every call is answered."""

    @property
    def quoted(self) -> str:
        """Return the schema as it stands in SQL."""
        return f'"{self.schema}"'


def parse(url: str) -> Address:
    """Return the address that a URL names. Raises OptionError, whose message does not tell the password."""
    try:
        url.encode()  # half a character is no part of any address
        parts = urlsplit(url)
        asked = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise OptionError(f"the PostgreSQL URL cannot be read ({error}): quote special characters in it") from None
    options = dict(asked)
    _check_ports(parts.netloc.rpartition("@")[2], options)
    if len(options) < len(asked):
        raise OptionError("the PostgreSQL URL names a parameter twice: name each one once")
    ours = {name: options.pop(name) for name in ("schema", "pooled", "timeout") if name in options}
    rest = urlencode(options, quote_via=quote)
    return Address(
        dsn=urlunsplit((POSTGRES[0], parts.netloc, parts.path, rest, "")),
        url=mask(url),
        schema=_schema(ours.get("schema", SCHEMA_DEFAULT)),
        pooled=_switch("pooled", ours.get("pooled", "false")),
        timeout_s=_timeout(ours.get("timeout", str(TIMEOUT_S))),
    )


def _check_ports(hosts: str, options: dict[str, str]) -> None:
    ports = PORT.findall(hosts) + [port for port in options.get("port", "").split(",") if port]
    for port in ports:
        known = port.isdecimal() and port.isascii() and len(port) <= PORT_DIGITS_MAX
        if not (known and 1 <= int(port) <= PORT_MAX):
            raise OptionError(f"the PostgreSQL URL names the port {shortened(port)}: use 1 to {PORT_MAX}")


def _schema(name: str) -> str:
    if not SCHEMA.fullmatch(name):
        raise OptionError(
            f"schema={name!r}: use a small letter or _, then up to 47 small letters, digits and _, such as kokugen"
        )
    if name.startswith("pg_"):
        raise OptionError(f"schema={name!r}: PostgreSQL keeps names that begin with pg_ for itself")
    return name


def _switch(name: str, text: str) -> bool:
    if text.lower() not in SWITCH:
        raise OptionError(f"{name}={text!r}: use true or false")
    return SWITCH[text.lower()]


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= TIMEOUT_MAX_S:
        raise OptionError(f"timeout={text!r}: use a number of seconds from 0.1 to {TIMEOUT_MAX_S:g}")
    return seconds
