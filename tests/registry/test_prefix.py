"""A prefix finds its registry, which sees the id without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kokugen.errors import OptionError
from kokugen.registry import protocol
from kokugen.registry.functions import FunctionRegistry, Work
from kokugen.registry.prefix import PrefixRegistry


class Unlisted:
    """A registry of plain callables that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def load(self, work_id: str) -> Callable[..., Any] | None:
        self.asked.append(work_id)
        return print if work_id == "print" else None


def functions(*ids: str, aliases: tuple[str, ...] = ()) -> FunctionRegistry:
    works = FunctionRegistry()
    for work_id in ids:
        works.work(id=work_id, aliases=aliases)(lambda: None)
    return works


def loaded(registry: PrefixRegistry, work_id: str) -> Work[..., Any]:
    work = registry.load(work_id)
    assert isinstance(work, Work)
    return work


def test_the_inner_registry_sees_the_id_without_the_prefix() -> None:
    inner = Unlisted()
    registry = PrefixRegistry({"sys.": inner})
    assert registry.load("sys.print") is print
    assert registry.load("sys.sys.print") is None
    assert inner.asked == ["print", "sys.print"]


def test_an_id_without_a_known_prefix_is_unknown() -> None:
    registry = PrefixRegistry({"mail.": functions("send")})
    assert [registry.load(work_id) for work_id in ("send", "mail", "img.send", "", "xmail.send")] == [None] * 5


def test_the_longest_prefix_wins_and_does_not_fall_back() -> None:
    short, long = functions("b.c", "d"), functions("x")
    registry = PrefixRegistry({"a.": short, "a.b.": long})
    assert registry.load("a.b.c") is None
    assert loaded(registry, "a.b.x").fn is long.load("x").fn  # type: ignore[union-attr]
    assert loaded(registry, "a.d").fn is short.load("d").fn  # type: ignore[union-attr]


def test_work_has_the_id_that_it_is_stored_under() -> None:
    registry = PrefixRegistry({"mail.": functions("send", aliases=("old",))})
    work = loaded(registry, "mail.send")
    assert work.id == "mail.send"
    assert registry.load("mail.send") is work
    assert registry.load("mail.old") is work


def test_it_lists_every_id_that_it_answers_and_no_other() -> None:
    registry = PrefixRegistry({"a.": functions("b.c", "d"), "a.b.": functions("x"), "": functions("z")})
    assert isinstance(registry, protocol.ListedWorkRegistry)
    assert registry.work_ids() == {"a.d", "a.b.x", "z"}


def test_work_declared_later_is_listed() -> None:
    inner = functions("a")
    registry = PrefixRegistry({"p.": inner})
    inner.work(id="b")(lambda: None)
    assert isinstance(registry, protocol.ListedWorkRegistry)
    assert registry.work_ids() == {"p.a", "p.b"}


def test_it_lists_nothing_where_one_of_them_cannot() -> None:
    registry = PrefixRegistry({"a.": functions("b"), "c.": Unlisted()})
    assert isinstance(registry, protocol.WorkRegistry)
    assert not isinstance(registry, protocol.ListedWorkRegistry)


def test_prefixes_may_be_nested_in_registries() -> None:
    inner = PrefixRegistry({"b.": functions("c")})
    assert loaded(PrefixRegistry({"a.": inner}), "a.b.c").id == "a.b.c"


@pytest.mark.parametrize("prefix", ["a b.", "ä", "x" * 201])
def test_a_prefix_that_no_work_id_can_have_is_refused(prefix: str) -> None:
    with pytest.raises(OptionError, match="prefix"):
        PrefixRegistry({prefix: functions("a")})
