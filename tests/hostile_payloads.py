"""Run by test_codec in a process of its own: 1,000 hostile payloads, and a hook that counts what they do."""

from __future__ import annotations

import base64
import json
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kokugen.codec import decode_params, decode_value, split_params
from kokugen.errors import CodecError
from kokugen.registry.commands import CommandRegistry
from kokugen.registry.work import make_work
from kokugen.task import Params

SEED = 20261224
GUARDED = (
    "import",
    "exec",
    "compile",
    "open",
    "pickle",
    "marshal",
    "code",
    "subprocess",
    "os.",
    "socket",
    "ctypes",
)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("a payload was run",))


@dataclass
class Target:
    name: str
    when: datetime
    where: Path


NAMES = [
    "__class__",
    "__reduce__",
    "__init__",
    "__globals__",
    "py/object",
    "!!python/object",
    "$type",
    "@type",
    "__proto__",
]
CODE = [
    "__import__('os').system('id')",
    "os.system",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "cos\nsystem\n(S'id'\ntR.",
    "';DROP TABLE kg_task;--",
    "../../../../etc/passwd",
    "!!python/object/apply:os.system ['id']",
    "\0",
    base64.b64encode(pickle.dumps(Bomb())).decode(),
]
BROKEN = [
    "",
    "{",
    "[" * 50_000,
    '{"a":' * 10_000,
    "9" * 100_000,
    "1e9999",
    "NaN",
    "\ud800",
    '"\\ud800"',
    "\0",
    "nul",
]


def plain(*args: Any, **kwargs: Any) -> None:
    """Work that takes anything."""


def typed(target: Target | None = None, *rest: Path, **more: Target) -> None:
    """Work that takes what payloads pretend to be."""


PLAIN, TYPED = make_work("plain", plain), make_work("typed", typed)
COMMAND = CommandRegistry().allow("show", Path(sys.executable).absolute(), "{args}", "{__class__}")


def payloads(chance: random.Random) -> Iterator[str]:
    """A mix of pickles, type tags, code, deep nesting, huge numbers, and good text cut or spoilt."""
    while True:
        yield chance.choice(BROKEN)
        yield pickle.dumps(Bomb(), protocol=chance.randrange(5)).decode("latin-1")
        hostile = {chance.choice(NAMES): chance.choice(CODE), "args": [chance.choice(CODE)]}
        yield json.dumps(hostile)
        good = json.dumps({"args": [hostile, chance.choice(CODE)], "kwargs": {chance.choice(NAMES): hostile}})
        yield good
        yield good[: chance.randrange(len(good))]
        spoilt = list(good)
        spoilt[chance.randrange(len(good))] = chr(chance.randrange(0x3000))
        yield "".join(spoilt)
        depth = chance.randrange(30, 3_000)
        yield '{"args":[' + "[" * depth + "]" * depth + "]}"


def read(text: str) -> None:
    """Read a payload in every way there is: each gives data or CodecError."""
    ways: list[Callable[[str], object]] = [
        decode_params,
        split_params,
        decode_value,
        lambda text: decode_value(text, Target),
        lambda text: decode_value(text, Params),
        lambda text: decode_value(text, dict[str, Path | None]),
        PLAIN.decode,
        TYPED.decode,
        COMMAND.decode,
    ]
    for way in ways:
        try:
            way(text)
        except CodecError:
            continue


def main() -> None:
    """Read them all, first a few to warm up, and say what was seen."""
    source = payloads(random.Random(SEED))
    texts = [next(source) for _ in range(1_000)]
    for text in texts[:50]:
        read(text)
    events: list[str] = []
    sys.addaudithook(lambda event, _: events.append(event) if event.startswith(GUARDED) else None)
    for text in texts:
        read(text)
    seen = list(events)
    compile("0", "the hook sees this", "eval")
    assert len(events) > len(seen)
    sys.stdout.write(f"{len(texts)} payloads, {len(seen)} events {sorted(set(seen))}\n")


if __name__ == "__main__":
    main()
