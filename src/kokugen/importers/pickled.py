"""Pickled data looked at without being unpickled: nothing that it names is imported, called or made.

A pickle is a program for a little machine that may call anything. This reads the program as data: where it would look
up a class or a function it notes the name (`Named`), and where it would call it, what it would call and with what
(`Made`). The importers know the few names whose meaning they need, and take what they want out of the arguments.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from kokugen.errors import InvalidEntryError

SIZE_MAX = 1_000_000
STEPS_MAX = 100_000
RECONSTRUCTORS = {"copyreg._reconstructor", "copy_reg._reconstructor"}
"""How the oldest pickles make an instance of their first argument."""
SCALARS = (str, int, float, bool, bytes, type(None))


class Named(Struct, frozen=True):
    """A name that a pickle looks up: of a class or function. It was not."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


GETATTR = (Named("builtins", "getattr"), Named("__builtin__", "getattr"))
"""How zoneinfo stores a zone, in pickles of any protocol."""


class Made:
    """What a pickle makes by a call, with what is put into it afterwards. It was not made."""

    __slots__ = ("args", "of", "state")

    def __init__(self, of: Named | Made, args: tuple[Any, ...]) -> None:
        self.of = of
        self.args = args
        self.state: Any = None

    @property
    def kind(self) -> str:
        """Return the full name of what it would be an instance, or the answer, of."""
        if self.name in RECONSTRUCTORS and self.args and isinstance(self.args[0], Named):
            return str(self.args[0])
        return self.name

    @property
    def name(self) -> str:
        """Return the full name of what is called; `getattr(zoneinfo.ZoneInfo, "x")` is `zoneinfo.ZoneInfo.x`."""
        if isinstance(self.of, Named):
            return str(self.of)
        told = self.of.args
        if self.of.of in GETATTR and len(told) == 2 and isinstance(told[0], Named):
            return f"{told[0]}.{told[1]}" if isinstance(told[1], str) else "builtins.getattr"
        return "what a call returns"


class Unreadable(Exception):
    """A pickle that is damaged, or does what plain data has no use for."""


def read_pickle(data: bytes) -> Any:
    """Return what a pickle holds: plain values, and `Named` and `Made` for everything else.

    Raises InvalidEntryError for what is no pickle, is larger than 1 MB, or does what none of plain data does.
    """
    if len(data) > SIZE_MAX:
        raise InvalidEntryError(f"it has {len(data):,} bytes: at most {SIZE_MAX:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in a text of the oldest protocol, which are Python's to read
            return _read(data)
    except Unreadable as error:
        raise InvalidEntryError(f"its pickle is not read: {error}") from error
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        raise InvalidEntryError("its pickle is damaged") from error


def _read(data: bytes) -> Any:
    machine = _Machine()
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if steps > STEPS_MAX:
            raise Unreadable(f"it has more than {STEPS_MAX:,} steps")
        machine.step(opcode.name, argument)
    return machine.result()


class _Machine:
    """The stack of a pickle, with notes in place of objects."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carry out one step."""
        if name in CONSTANTS:
            self._stack.append(argument)
        elif name in VALUES:
            self._stack.append(VALUES[name]())
        elif name in STEPS:
            STEPS[name](self, argument)
        elif name not in IGNORED:
            raise Unreadable(f"it has a {name}, which plain data has not")

    def result(self) -> Any:
        """Return what is left at the end."""
        if len(self._stack) != 1 or self._marks:
            raise Unreadable("it does not end with one value")
        return self._stack[0]

    # -- The stack

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        at = self._marks.pop()
        taken = self._stack[at:]
        del self._stack[at:]
        return taken

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._since_mark()

    def repeat(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def keep(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    def keep_next(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    # -- Containers

    def pack(self, count: int) -> None:
        if count > len(self._stack):
            raise Unreadable("it takes more than there is")
        taken = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self._stack.append(taken)

    def to_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def to_list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def to_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._fill(items)

    def to_frozenset(self, _: Any) -> None:
        self._stack.append(frozenset(_scalar(value) for value in self._since_mark()))

    def append(self, _: Any) -> None:
        value = self._stack.pop()
        self._top(list).append(value)

    def appends(self, _: Any) -> None:
        values = self._since_mark()
        self._top(list).extend(values)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._fill([key, value])

    def set_items(self, _: Any) -> None:
        items = self._since_mark()
        self._fill(items)

    def add_items(self, _: Any) -> None:
        values = self._since_mark()
        self._top(set).update(_scalar(value) for value in values)

    def _fill(self, items: Any) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_scalar(key)] = value

    def _top(self, kind: Any) -> Any:
        if type(self._stack[-1]) is not kind:
            raise Unreadable(f"it fills something that is no {kind.__name__}")
        return self._stack[-1]

    # -- What would be looked up and called

    def named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(Named(module, name))

    def named_on_stack(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Unreadable("it looks up what has no name")
        self._stack.append(Named(module, name))

    def call(self, _: Any) -> None:
        args, of = self._stack.pop(), self._stack.pop()
        self._made(of, args)

    def call_with_keywords(self, _: Any) -> None:
        kwargs, args, of = self._stack.pop(), self._stack.pop(), self._stack.pop()
        if kwargs:
            raise Unreadable("it calls something with keywords")
        self._made(of, args)

    def call_since_mark(self, _: Any) -> None:
        of, *args = self._since_mark()
        self._made(of, tuple(args))

    def call_named(self, argument: str) -> None:
        args = tuple(self._since_mark())
        module, _, name = argument.partition(" ")
        self._made(Named(module, name), args)

    def _made(self, of: Any, args: Any) -> None:
        if not isinstance(of, Named | Made) or type(args) is not tuple:
            raise Unreadable("it calls what has no name")
        self._stack.append(Made(of, args))

    def build(self, _: Any) -> None:
        state = self._stack.pop()
        self._top(Made).state = state


def _scalar(value: Any) -> Any:
    """Return what may be a key: a nested one could exhaust what hashes it."""
    if type(value) not in SCALARS:
        raise Unreadable("it has a key that is no text or number")
    return value


CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.repeat,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.keep),
    "MEMOIZE": _Machine.keep_next,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    "TUPLE": _Machine.to_tuple,
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "LIST": _Machine.to_list,
    "DICT": _Machine.to_dict,
    "FROZENSET": _Machine.to_frozenset,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "OBJ": _Machine.call_since_mark,
    "INST": _Machine.call_named,
    "BUILD": _Machine.build,
}
IGNORED = {"PROTO", "FRAME", "STOP"}
