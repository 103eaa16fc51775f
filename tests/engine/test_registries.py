"""Registries that users wrote: what they cannot load waits for a node that can, and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.protocol import Work
from kokugen.run import Interrupt
from kokugen.task import Mode, TaskState
from tests.engine.node import Lab, later, virtually


async def good() -> str:
    return "done"


def yields() -> Iterator[int]:
    yield 1


OFFERS = '{"namespace":"default","queues":["default"],"works":[%s]}'


class Unlisted:
    """A registry that has a `load` and nothing else."""

    def __init__(self) -> None:
        self.works: dict[str, Any] = {"good": good, "yields": yields, "number": 5}

    def load(self, work_id: str) -> Callable[..., Any] | None:
        if work_id == "broken":
            raise RuntimeError("cannot load it")
        return self.works.get(work_id)


class Listed(Unlisted):
    """One that lists its ids too."""

    def work_ids(self) -> frozenset[str]:
        return frozenset({*self.works, "broken"})


@pytest.mark.parametrize("registry", [Unlisted, Listed])
@pytest.mark.parametrize("bad", ["broken", "yields", "number"])
def test_work_that_cannot_be_loaded_waits_and_stops_no_other(registry: type[Unlisted], bad: str) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(works=registry())
        waiting = lab.add_many(3, bad)
        done = lab.add_many(3, "good")
        await later(5)
        assert (lab.states(waiting), lab.states(done)) == ({TaskState.INITIALIZED}, {TaskState.DONE})
        await node.stop()

    virtually(main)


@pytest.mark.parametrize("registry", [Unlisted, Listed])
def test_work_that_comes_to_be_known_is_run_from_then_on(registry: type[Unlisted]) -> None:
    async def main(lab: Lab) -> None:
        works = registry()
        node = await lab.node(works=works)
        task_id = lab.add("late")
        await later(5)
        assert lab.state(task_id) is TaskState.INITIALIZED
        works.works["late"] = good
        await later(2)
        assert lab.state(task_id) is TaskState.DONE
        await node.stop()

    virtually(main)


def test_a_node_offers_the_work_that_it_can_load_by_now() -> None:
    async def main(lab: Lab) -> None:
        works = Listed()
        node = await lab.node(works=works)
        works.works["late"] = None
        assert node.engine.storage.offers() == OFFERS % '"good"'
        works.works["late"] = good
        assert node.engine.storage.offers() == OFFERS % '"good","late"'
        await node.stop()

    virtually(main)


def test_a_node_does_not_say_which_work_it_knows_where_its_registry_does_not() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(works=Unlisted())
        assert '"works":null' in node.engine.storage.offers()
        await node.stop()

    virtually(main)


def test_an_engine_that_ends_by_an_error_tells_its_runs_that_nobody_keeps_their_leases() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        lab.add("hang")
        await later(2)

        def fail(verb: str) -> None:
            raise ZeroDivisionError(verb)

        node.line.plan = fail
        await later(20)
        with pytest.raises(ZeroDivisionError):
            await node.stop()
        assert [run.interrupt for run in lab.ledger.runs] == [Interrupt.LEASE_LOST]

    virtually(main)


# -- What is declared stricter than what is stored


class Careful:
    """A registry of one work that runs at most once, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

        async def charge() -> None:
            self.calls += 1
            await later(3600)

        self._work = FunctionRegistry().work(mode="at_most_once")(charge)

    def load(self, work_id: str) -> Work | None:
        return self._work if work_id == "charge" else None


class ListedCareful(Careful):
    """One that lists its ids too."""

    def work_ids(self) -> frozenset[str]:
        return frozenset({"charge"})


@pytest.mark.parametrize("registry", [Careful, ListedCareful])
def test_work_that_is_declared_at_most_once_is_called_once_whatever_is_stored(registry: type[Careful]) -> None:
    async def main(lab: Lab) -> None:
        works = registry()
        node = await lab.node(works=works)
        task_id = lab.add("charge")
        await later(1)
        assert (lab.info(task_id).mode, lab.info(task_id).attempt) == (Mode.AT_MOST_ONCE, 1)
        await node.crash()
        other = await lab.node(works=works)
        await later(120)
        info = lab.info(task_id)
        assert (info.state, info.reason, works.calls) == (TaskState.FAILED, "lost", 1)
        await other.stop()

    virtually(main)
