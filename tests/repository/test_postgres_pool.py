"""When a store that is away is tried again."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.pool import PAUSE_MAX_S, PAUSE_MIN_S, Pool
from kokugen.repository.postgres.session import Kind
from kokugen.testing import VirtualClock, run_virtual


@pytest.mark.parametrize("seed", range(20))
def test_a_store_is_tried_again_before_it_was_away_twice_as_long_and_never_much_later(seed: int) -> None:
    async def main(clock: VirtualClock) -> list[tuple[float, float]]:
        pool = Pool(parse("postgresql://"), Kind(limit_s=1.0, pinned=False), 1, Random(seed))
        pauses, begun_s = list[tuple[float, float]](), clock.boot_s()
        for _ in range(50):
            pool._put_off()
            away_s = clock.boot_s() - begun_s
            pauses.append((away_s, pool._not_before_s - asyncio.get_running_loop().time()))
            await asyncio.sleep(pauses[-1][1])
        return pauses

    pauses = run_virtual(main)
    assert all(PAUSE_MIN_S <= pause_s <= max(PAUSE_MIN_S, away_s) + 1e-6 for away_s, pause_s in pauses)
    assert max(pause_s for _, pause_s in pauses) == pytest.approx(PAUSE_MAX_S)
    assert len({round(pause_s, 3) for _, pause_s in pauses}) > 10
