"""What the engine does now and again beside its runs: one call that is not answered keeps none of it from the next."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kokugen.settings import Settings
from kokugen.task import TaskState
from kokugen.task_storage.leasing import PRUNED_MAX
from tests.engine.node import Lab, later, virtually

MINUTE_S = 60


def test_one_beat_without_an_answer_costs_no_lease() -> None:
    """The run is claimed a while before a beat, which passes it over; the one after that is lost."""

    async def main(lab: Lab) -> None:
        node = await lab.node()
        beat_s = node.settings.beat_s
        await later(beat_s * 0.6)
        task_id = lab.add("last", 5 * beat_s)
        await later(beat_s * 1.3)
        node.line.silent = {"beat"}
        await later(beat_s * 0.2)
        node.line.silent = set()
        await later(6 * beat_s)
        assert lab.state(task_id) is TaskState.DONE
        assert [run.interrupt for run in lab.ledger.runs] == [None]
        await node.stop()

    virtually(main)


@pytest.mark.parametrize("verb", ["register", "finish"])
def test_leases_are_extended_though_other_calls_are_not_answered(verb: str) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        lab.add_many(2)
        long = lab.add("last", 2 * MINUTE_S)
        node.line.silent = {verb}
        await later(MINUTE_S)
        node.line.silent = set()
        await later(2 * MINUTE_S)
        assert lab.state(long) is TaskState.DONE
        assert [run.interrupt for run in lab.ledger.runs] == [None] * 3
        await node.stop()

    virtually(main)


def test_as_much_is_pruned_as_is_past_retention_however_fast_it_piles_up() -> None:
    async def main(lab: Lab) -> None:
        settings = Settings(keep_done=timedelta(seconds=30))
        node = await lab.node(settings=settings)
        for _ in range(5):
            lab.add_many(PRUNED_MAX // 2)
        await later(3 * settings.prune_s)
        assert lab.infos() == []
        assert len(lab.ledger.starts) == 5 * (PRUNED_MAX // 2)
        await node.stop()

    virtually(main)
