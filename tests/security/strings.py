"""More than 2,000 texts that break out of statements, terminals, paths or JSON wherever one is not bound or escaped."""

from __future__ import annotations

from itertools import product

PIECES = (
    "'",
    '"',
    "`",
    "\\",
    "--",
    ";",
    "/*",
    "*/",
    "%",
    "_",
    "%s",
    "%(ns)s",
    "$1",
    ":ns",
    "?",
    "{0}",
    "${HOME}",
    "$$",
    "')",
    "'; DROP TABLE task; --",
    '"; DROP TABLE "task"; --',
    "' OR '1'='1",
    "' UNION SELECT * FROM meta --",
    "E'\\x27'",
    "||",
    "\n",
    "\r",
    "\t",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x7f",
    "\x9b31m",
    "\u202e",
    "\u2066",
    "\u2028",
    "\ufeff",
    "\ufffd",
    "é",
    "e\u0301",
    "ﬁ",
    "日本",
    "🙂",
    "null",
    "true",
    "NaN",
    "[]",
    '{"a":1}',
    "\\u0000",
    "<script>",
    "../..",
)
TEXTS = tuple(
    dict.fromkeys([*PIECES, *map("".join, product(PIECES, PIECES)), "x" * 200, " ", "  padded  ", "e" * 199 + "'"])
)
"""Texts that every store has to keep as they are."""
NO_TEXTS = ("\0", "a\0b", "\0'; --", "\ud800", "\udc80", "a\udfffb", "")
"""What UTF-8 or PostgreSQL does not have, and nothing at all: refused, unless it is kept as it is."""
HOSTILE = (*PIECES, *NO_TEXTS)
