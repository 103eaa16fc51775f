"""Ids are valid, in order, and never repeat: between threads, while the clock stands, in a forked child."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from kokugen.clock import SystemClock
from kokugen.ids import IdSource, system_random


class StandingClock:
    """A wall clock that shows what it is told."""

    def __init__(self, wall_us: int) -> None:
        self.now = wall_us

    def wall_us(self) -> int:
        return self.now

    def boot_s(self) -> float:
        return 0.0


def source(wall_us: int = 1_800_000_000_123_456, seed: int = 1) -> tuple[IdSource, StandingClock]:
    clock = StandingClock(wall_us)
    return IdSource(clock, random.Random(seed)), clock


def test_a_task_id_is_a_canonical_uuid_of_version_7() -> None:
    text = source()[0].task_id()
    assert str(UUID(text)) == text
    assert UUID(text).version == 7
    assert UUID(text).variant == "specified in RFC 4122"


def test_a_task_id_says_when_it_was_made() -> None:
    bits = UUID(source(1_800_000_000_123_456)[0].task_id()).int
    assert bits >> 80 == 1_800_000_000_123
    assert (bits >> 64 & 0xFFF) == 456 * 4096 // 1000


def test_task_ids_are_in_order_while_the_clock_stands_still() -> None:
    ids, _ = source()
    made = [ids.task_id() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_task_ids_are_in_order_when_the_clock_is_set_back() -> None:
    ids, clock = source()
    before = ids.task_id()
    clock.now -= 3600 * 1_000_000
    assert ids.task_id() > before


def test_task_ids_follow_the_clock_when_it_goes_on() -> None:
    ids, clock = source()
    ids.task_id()
    clock.now += 5_000_000
    assert UUID(ids.task_id()).int >> 80 == clock.now // 1000


def test_threads_never_get_the_same_task_id() -> None:
    ids = IdSource(SystemClock(), system_random())
    with ThreadPoolExecutor(8) as pool:
        made = [one for each in pool.map(lambda _: [ids.task_id() for _ in range(2_000)], range(8)) for one in each]
    assert len(set(made)) == 16_000


def test_each_thread_gets_its_task_ids_in_order() -> None:
    ids = IdSource(SystemClock(), system_random())
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(lambda _: [ids.task_id() for _ in range(2_000)], range(4)):
            assert made == sorted(made)


def test_the_same_seed_gives_the_same_ids() -> None:
    one, other = source(seed=7)[0], source(seed=7)[0]
    assert [one.task_id(), one.nonce(), one.node_id()] == [other.task_id(), other.nonce(), other.node_id()]


def test_two_sources_of_one_instant_differ() -> None:
    one, other = IdSource(StandingClock(0), system_random()), IdSource(StandingClock(0), system_random())
    assert one.task_id() != other.task_id()


def test_a_nonce_is_32_hexadecimal_digits_and_new_each_time() -> None:
    ids, _ = source()
    made = {ids.nonce() for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(bytes.fromhex(nonce)) for nonce in made} == {16}


def test_a_node_id_is_a_random_uuid() -> None:
    ids, _ = source()
    assert {UUID(ids.node_id()).version for _ in range(50)} == {4}
    assert len({ids.node_id() for _ in range(50)}) == 50


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_repeats_no_id_and_is_not_blocked_by_the_parents_lock() -> None:
    ids, _ = source()
    with ids._lock:
        from_child = in_a_child(lambda: f"{ids.task_id()} {ids.nonce()} {ids.node_id()}")
    from_parent = f"{ids.task_id()} {ids.nonce()} {ids.node_id()}"
    assert set(from_child.split()) & set(from_parent.split()) == set()
    assert len(from_child.split()) == 3


def in_a_child(make: Callable[[], str]) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, make().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text
