"""The schedules of a history: the client's, decided about by every machine, and accounted for in the end."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import msgspec

from kokugen.clock import SECOND_US
from kokugen.ids import IdSource, occurrence_id
from kokugen.recurrence.interval import Every
from kokugen.recurrence.spec import dump_spec
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import (
    LEDGER_MAX,
    Ledger,
    LedgerQuery,
    Overlap,
    Reason,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.schedules.book import Book
from kokugen.schedules.definitions import Definitions
from kokugen.schedules.edits import Draft
from kokugen.schedules.materialiser import Materialiser
from kokugen.schedules.policy import Catchup, Policy, Template
from kokugen.task import TaskState, replace
from tests.simulation.works import param_of

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.machine import Machine

FOREVER = 2**53
EVERYTHING = ScheduleQuery(limit=1000)


def materialiser_of(machine: Machine, random: Random) -> Materialiser:
    """Return the service of a machine that makes tasks of schedules."""
    assert isinstance(machine.wire, ScheduleRepository)
    return Materialiser(
        machine.wire,
        Definitions(),
        clock=machine.clock,
        random=random,
        settings=machine.judge.settings,
        wake_claims=lambda due_us: machine.engine.hint(due_us),  # noqa: PLW0108 - the engine is made after it
        skew_us=lambda: machine.storage.current_skew_us(),  # noqa: PLW0108 - nor the storage
    )


class Timetable:
    """What the client knows of schedules: the drafts that it put there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.drafts: dict[str, Draft] = {}
        self.ended = False
        """Whether nothing more is made of any of them."""
        assert isinstance(cluster.wire, ScheduleRepository)
        ids = IdSource(cluster.clock, Random(cluster.random.random()))
        self._book = Book(cluster.wire, Definitions(), clock=cluster.clock, ids=ids)

    def put(self, random: Random) -> None:
        """Put a schedule into the store."""
        name = f"schedule-{random.getrandbits(32):08x}"
        policy, template = _policy(random), _template(random)
        self.drafts[name] = Draft(
            name=name,
            spec=dump_spec(Every(timedelta(seconds=random.choice([0.7, 1, 2, 3, 5])))),
            policy=msgspec.json.encode(policy).decode(),
            template=msgspec.json.encode(template).decode(),
            overlap=random.choice(list(Overlap)),
        )
        self._cluster.judge.happened["scheduled"] += 1
        self._cluster.ask(self._book.put(self.drafts[name]), lambda _: None)

    def edit(self, random: Random) -> None:
        """Give one of them another policy and another task, so that what waits is taken back and made anew."""
        if self.drafts:
            name = random.choice(sorted(self.drafts))
            policy, template = msgspec.json.encode(_policy(random)), msgspec.json.encode(_template(random))
            self.drafts[name] = replace(self.drafts[name], policy=policy.decode(), template=template.decode())
            self._count("schedule edited")
            self._cluster.ask(self._book.edit(self.drafts[name]), lambda _: None)

    def pause(self, random: Random, span_s: float) -> None:
        """Pause one of them for a while."""
        if self.drafts:
            name = random.choice(sorted(self.drafts))
            self._count("schedule paused")
            self._cluster.ask(self._book.pause(name), lambda _: None)
            self._cluster.after(span_s, lambda: self._cluster.ask(self._book.resume(name), lambda _: None))

    def trigger(self, random: Random) -> None:
        """Have one of them run now."""
        if self.drafts:
            self._count("schedule triggered")
            self._cluster.ask(self._book.trigger(random.choice(sorted(self.drafts))), lambda _: None)

    def _count(self, what: str) -> None:
        self._cluster.judge.happened[what] += 1

    # -- In peace

    def end(self) -> None:
        """Have nothing more made of any of them, once somebody has decided about the times that have passed."""
        now = self._cluster.clock.wall_us()

        def pause(rows: list[ScheduleRow]) -> None:
            self.ended = not rows
            for row in (row for row in rows if row.wake_at is None or row.wake_at > now):
                self._cluster.ask(self._book.pause(row.name), lambda _: None)

        self._cluster.ask(self._book.rows(replace(EVERYTHING, paused=False)), pause)

    def judge(self) -> None:
        """Look at what became of every time of every schedule."""

        def judge(rows: list[ScheduleRow]) -> None:
            for row in rows:
                self._judge_ledger(row)

        self._cluster.ask(self._book.rows(EVERYTHING), judge)

    def _judge_ledger(self, row: ScheduleRow) -> None:
        store = self._cluster.wire
        assert isinstance(store, ScheduleRepository)
        asked = store.ledger(LedgerQuery(schedule_id=row.id, first=-FOREVER, last=FOREVER))
        self._cluster.ask(asked, lambda found: self._judge_times(row, found))

    def _judge_times(self, row: ScheduleRow, found: Ledger) -> None:
        """Compare the times that were decided about, and how, with those that there were."""
        judge, trigger = self._cluster.judge, Definitions().of(row).trigger
        if len(found.ends) >= LEDGER_MAX:  # by a clock that was an hour ahead: one look does not show them all
            return
        taken_back = [end.nominal for end in found.ends if end.state is TaskState.INITIALIZED]
        rows = [one for one in found.rows if one.reason != Reason.TRIGGERED]
        decided = sorted(at for one in rows for at in trigger.walk_us(one.first, one.last + 1))
        made = sorted(
            at for one in rows if one.reason == Reason.MADE for at in trigger.walk_us(one.first, one.last + 1)
        )
        for at in taken_back:
            if at in made:
                decided.remove(at)
                made.remove(at)
        early = self._over_before_their_time(row.id)
        decided = [at for at in decided if at not in early]
        wanted = [at for at in trigger.walk_us(row.created_at + 1, row.decided + 1) if at not in early]
        about = (row.name, f"{len(decided)} decided of {len(wanted)} times", sorted(set(wanted) ^ set(decided))[:3])
        # Of a clock that was set back a pause forgets what was decided about later times: they are decided about again.
        kept = set(wanted) <= set(decided) if judge.wild_clocks else decided == wanted
        judge.hold("I11", kept, *about)
        there = judge.rows.keys() | judge.gone.keys()
        missing = [at for at in made if occurrence_id(row.id, at) not in there]
        judge.hold("I11", not missing, row.name, "has made no task of", missing[:3])
        judge.happened["occurrences"] += len(made)
        judge.happened["coalesced"] += row.coalesced
        judge.happened["skipped"] += row.skipped

    def _over_before_their_time(self, schedule_id: str) -> set[int]:
        """Return times whose task someone cancelled before: a pause before the time takes nothing of that back."""
        judge = self._cluster.judge
        tasks = [one for one in (*judge.rows.values(), *judge.gone.values()) if one.schedule_id == schedule_id]
        return {one.nominal for one in tasks if one.nominal and one.finished_at and one.finished_at < one.nominal}


def _policy(random: Random) -> Policy:
    return Policy(
        catchup=random.choice(list(Catchup)),
        misfire_us=round(random.choice([0.5, 2, 60]) * SECOND_US),
        window_us=random.choice([3, 86_400]) * SECOND_US,
    )


def _template(random: Random) -> Template:
    return Template(work_id="polite", param=param_of("polite", random.choice([0.0, 0.3, 2.5])), max_lost=60)
