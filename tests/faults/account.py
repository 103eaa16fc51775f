"""The account of schedules: every nominal time, by the checker's own reckoning, against the ledger and what ran.

As strict as one can be who knows each time by name: a time without a decision, or with two, fails; so does a task too
many or too few, a time that was not run though nothing stood in its way, and one whose stand-in did not run either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from kokugen.clock import SECOND_US
from tests.faults.journal import START, Entry
from tests.faults.judge import Kind, Verdict

MADE, COALESCED = "made", "coalesced"
NOT_RUN = {COALESCED, "missed", "too old"}
PROMPT_US = SECOND_US
"""How late a time may start where nothing stood in its way."""


class Plan(Struct, frozen=True):
    """A schedule as it was asked for: `count` times, one each `period_us`, and how late one may be and simply run."""

    name: str
    start_us: int
    period_us: int
    count: int
    misfire_us: int

    @property
    def times(self) -> range:
        return range(self.start_us, self.start_us + self.count * self.period_us, self.period_us)


class Decision(Struct, frozen=True):
    """A row of the ledger."""

    name: str
    first: int
    last: int
    count: int | None
    reason: str
    stand_in: int | None


class Made(Struct, frozen=True):
    """A task of a schedule."""

    name: str
    nominal: int
    task_id: str


class Trouble(Struct, frozen=True):
    """A while in which something stood in the way: the faults themselves, and what the protocol may take after them."""

    first_us: int
    last_us: int


class Account(Struct, frozen=True, kw_only=True):
    """All that is known in the end."""

    plans: Sequence[Plan]
    decisions: Sequence[Decision]
    made: Sequence[Made]
    entries: Sequence[Entry]
    troubles: Sequence[Trouble]


def audit(account: Account) -> list[Verdict]:
    """Every time that is not accounted for; none at best."""
    decisions: dict[str, list[Decision]] = defaultdict(list)
    for decision in account.decisions:
        decisions[decision.name].append(decision)
    tasks: dict[tuple[str, int], list[str]] = defaultdict(list)
    for one in account.made:
        tasks[one.name, one.nominal].append(one.task_id)
    told = [*_strangers(account, decisions)]
    for plan in account.plans:
        for nominal in plan.times:
            told += _accounted(plan, nominal, decisions[plan.name], tasks, account.troubles)
    return [*told, *_late(account)]


def _strangers(account: Account, decisions: Mapping[str, Sequence[Decision]]) -> Iterator[Verdict]:
    plans = {plan.name: plan for plan in account.plans}
    for one in account.made:
        if one.name not in plans or one.nominal not in plans[one.name].times:
            yield Verdict(Kind.UNEXPLAINED, f"{one.task_id}: a task for {one.nominal} of {one.name}, no time of it")
    for name, plan in plans.items():
        counted = sum(decision.count or 0 for decision in decisions.get(name, ()))
        if counted != plan.count:
            yield Verdict(Kind.UNEXPLAINED, f"{name}: its ledger counts {counted} times of {plan.count}")


def _accounted(
    plan: Plan,
    nominal: int,
    decisions: Sequence[Decision],
    tasks: Mapping[tuple[str, int], Sequence[str]],
    troubles: Sequence[Trouble],
) -> Iterator[Verdict]:
    reasons = _reasons(nominal, decisions)
    mine = tasks.get((plan.name, nominal), ())
    at = f"{plan.name} at {nominal}"
    if not reasons:
        yield Verdict(Kind.LOST, f"{at}: never decided")
    elif len(reasons) > 1:
        yield Verdict(
            Kind.DOUBLED, f"{at}: decided {len(reasons)} times, as {', '.join(one.reason for one in reasons)}"
        )
    elif (decision := reasons[0]).reason == MADE:
        if not mine:
            yield Verdict(Kind.LOST, f"{at}: made, and there is no task")
    elif decision.reason not in NOT_RUN:
        yield Verdict(Kind.UNEXPLAINED, f"{at}: {decision.reason}, and nobody asked for that")
    elif not _hindered(troubles, nominal, plan.misfire_us):
        yield Verdict(Kind.LOST, f"{at}: {decision.reason}, and nothing stood in its way")
    elif decision.reason == COALESCED and not tasks.get((plan.name, decision.stand_in or 0)):
        yield Verdict(Kind.LOST, f"{at}: {decision.stand_in} was to stand for it, and has no task")
    if len(mine) > (reasons != [] and reasons[0].reason == MADE):
        yield Verdict(Kind.DOUBLED, f"{at}: {len(mine)} tasks, decided as {[one.reason for one in reasons]}")


def _reasons(nominal: int, decisions: Sequence[Decision]) -> list[Decision]:
    return [one for one in decisions if one.first <= nominal <= one.last]


def _hindered(troubles: Sequence[Trouble], nominal: int, within_us: int) -> bool:
    """Return whether something stood in the way of a time at some moment until so long after it."""
    return any(one.first_us <= nominal + within_us and one.last_us >= nominal for one in troubles)


def _late(account: Account) -> Iterator[Verdict]:
    for late_us, one in lateness(account):
        if late_us > PROMPT_US and not _hindered(account.troubles, one.nominal, PROMPT_US):
            words = f"{one.name} at {one.nominal}: started {late_us / 1e6:.2f} s late, and nothing stood in its way"
            yield Verdict(Kind.SLOW, words)


def lateness(account: Account) -> Iterator[tuple[int, Made]]:
    """Yield how late the first run of each task began, in microseconds."""
    first: dict[str, int] = {}
    for entry in account.entries:
        if entry.event == START:
            first[entry.task_id] = min(entry.wall_us, first.get(entry.task_id, entry.wall_us))
    for one in account.made:
        if one.task_id in first:
            yield first[one.task_id] - one.nominal, one
