"""Every nominal time of a schedule is decided once: it becomes a task, or the ledger says why not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from msgspec import Struct
from msgspec.structs import replace

from kokugen.clock import SECOND_US, to_us
from kokugen.errors import InvalidEntryError
from kokugen.ids import occurrence_id
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import Every
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import LedgerRow, Overlap, Reason, ScheduleRow
from kokugen.schedules.decision import COUNTED_MAX, Decision, share_of
from kokugen.schedules.policy import BATCH_MAX, DAY_US, MINUTE_US, Catchup, Policy, Template

START = to_us(datetime(2026, 3, 28, 12, tzinfo=UTC))
HOUR_US = 60 * MINUTE_US
AHEAD_US = 5 * SECOND_US
EACH_MINUTE = Every(timedelta(minutes=1))
EACH_SECOND = Every(timedelta(seconds=1))


class Listed(Trigger, frozen=True, tag="listed"):
    """Any times, one by one."""

    times: tuple[int, ...]

    def next_us(self, after_us: int) -> int | None:
        place = bisect_right(self.times, after_us)
        return self.times[place] if place < len(self.times) else None

    def prev_us(self, before_us: int) -> int | None:
        place = bisect_right(self.times, before_us - 1)
        return self.times[place - 1] if place else None


def a_row(**about: object) -> ScheduleRow:
    defaults = {
        "id": "s",
        "name": "daily",
        "spec": "",
        "policy": "",
        "template": "",
        "decided": START,
        "created_at": START,
        "modified_at": START,
    }
    return ScheduleRow(**(defaults | about))  # type: ignore[arg-type] # of the fields' own types


def decide(row: ScheduleRow, trigger: Trigger, policy: Policy, after_s: float, ahead_us: int = AHEAD_US) -> Decision:
    now = START + round(after_s * SECOND_US)
    return Decision(row, trigger, policy, now=now, until=now + ahead_us)


def told(decision: Decision) -> list[tuple[str, float, float, int | None]]:
    """The ledger: reason, first and last in seconds after the start, and count."""
    return [
        (str(row.reason), (row.first - START) / SECOND_US, (row.last - START) / SECOND_US, row.count)
        for row in decision.ledger
    ]


def seconds(decision: Decision) -> list[float]:
    return [(nominal - START) / SECOND_US for nominal, _ in decision.made]


# -- On time


def test_what_is_due_soon_is_made_at_its_time() -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(), 57)
    assert decision.made == [(START + MINUTE_US, START + MINUTE_US)]
    assert told(decision) == [("made", 60, 60, 1)]
    assert (decision.row.decided, decision.row.next_at, decision.row.rev) == (
        START + 62 * SECOND_US,
        START + 2 * MINUTE_US,
        2,
    )
    assert decision.row.wake_at == decision.row.next_at
    assert decision.whole


def test_a_little_late_is_simply_late() -> None:
    decision = decide(a_row(), EACH_SECOND, Policy(catchup=Catchup.SKIP), 60, 0)
    assert told(decision) == [("made", 1, 60, 60)]


def test_nothing_is_made_before_its_time_comes_near() -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(), 54)
    assert (decision.made, decision.ledger) == ([], [])


def test_a_clock_that_is_set_back_makes_nothing_twice() -> None:
    row = decide(a_row(), EACH_MINUTE, Policy(), 600).row
    again = decide(row, EACH_MINUTE, Policy(), 300)
    assert (again.made, again.ledger, again.row.decided) == ([], [], row.decided)


def test_the_tasks_are_the_template_with_their_times() -> None:
    row = a_row(overlap=Overlap.SKIP)
    template = Template(work_id="mail", param='{"args":[1]}', queue="q", rank=-2, start_within_us=7, tags='["a"]')
    decision = decide(row, EACH_MINUTE, Policy(), 60)
    (task,) = decision.tasks(template)
    at = START + MINUTE_US
    assert (task.id, task.schedule_id, task.nominal, task.overlap) == (occurrence_id("s", at), "s", at, "skip")
    assert (task.work_id, task.param, task.queue, task.rank, task.tags) == ("mail", '{"args":[1]}', "q", -2, '["a"]')
    assert (task.due_at, task.scheduled_time, task.start_deadline) == (at, at, at + 7)
    change = decision.change(template)
    assert (change.row, change.expected, change.tasks, change.ledger) == (decision.row, 1, [task], decision.ledger)


def test_occurrences_that_may_overlap_have_no_turn() -> None:
    decision = decide(a_row(overlap=Overlap.ALLOW), EACH_MINUTE, Policy(), 60)
    assert decision.tasks(Template(work_id="w"))[0].overlap is None


def test_ids_of_occurrences_follow_from_schedule_and_time_and_sort_by_it() -> None:
    ids = [occurrence_id("s", START + second * SECOND_US) for second in range(100)]
    assert sorted(ids) == ids
    assert len({*ids, *(occurrence_id("t", START + second * SECOND_US) for second in range(100))}) == 200
    assert ids[0] == occurrence_id("s", START)
    assert (len(ids[0]), ids[0][14]) == (36, "8")
    assert ids[0][19] in "89ab"


# -- Too late


def test_by_default_the_latest_stands_for_what_was_missed() -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(), 3600)
    assert told(decision) == [("coalesced", 60, 3480, 58), ("made", 3540, 3600, 2)]
    assert decision.ledger[0].stand_in == START + 59 * MINUTE_US
    assert decision.made[0] == (START + 59 * MINUTE_US, START + 59 * MINUTE_US)
    assert decision.row.coalesced == 58
    assert decision.row.runs == 2


def test_missed_occurrences_may_be_skipped() -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(catchup=Catchup.SKIP), 3600)
    assert told(decision) == [("missed", 60, 3540, 59), ("made", 3600, 3600, 1)]
    assert decision.row.skipped == 59


def test_all_of_them_may_be_caught_up_with() -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(catchup=Catchup.ALL), 3600)
    assert told(decision) == [("made", 60, 3600, 60)]
    assert decision.made[0] == (START + MINUTE_US, START + MINUTE_US)


@pytest.mark.parametrize("catchup", list(Catchup))
def test_what_is_outside_the_window_is_too_old(catchup: Catchup) -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(catchup=catchup, window_us=10 * MINUTE_US), 3600)
    assert told(decision)[0] == ("too old", 60, 3000, 50)
    assert {Catchup.SKIP: 1, Catchup.ONE: 2, Catchup.ALL: 10}[catchup] == len(decision.made)


def test_many_are_made_part_by_part() -> None:
    row, parts = a_row(), list[int]()
    policy = Policy(catchup=Catchup.ALL)
    while True:
        decision = decide(row, EACH_SECOND, policy, 2500)
        parts.append(len(decision.made))
        assert decision.whole or decision.row.wake_at is not None
        row = decision.row
        if decision.whole:
            break
    assert parts == [BATCH_MAX, BATCH_MAX, 505]
    assert row.runs == 2505


def test_catching_up_goes_no_faster_than_its_rate() -> None:
    policy = Policy(catchup=Catchup.ALL, rate=2.0)
    first = decide(a_row(), EACH_MINUTE, policy, 3600)
    now = START + 3600 * SECOND_US
    assert [due for _, due in first.made] == [now + n * SECOND_US // 2 for n in range(11)]
    assert not first.whole
    assert first.row.wake_at == now + 11 * SECOND_US // 2
    second = decide(first.row, EACH_MINUTE, policy, 3601)
    assert [due for _, due in second.made] == [now + 11 * SECOND_US // 2, now + 6 * SECOND_US]
    assert [nominal for nominal, _ in second.made] == [START + 12 * MINUTE_US, START + 13 * MINUTE_US]


def test_of_what_is_caught_up_with_the_latest_run_where_there_is_a_limit() -> None:
    policy = Policy(catchup=Catchup.ALL, catchup_max=3)
    decision = decide(a_row(), EACH_MINUTE, policy, 3600, 0)
    assert told(decision) == [("missed", 60, 56 * 60, 56), ("made", 57 * 60, 60 * 60, 4)], "the last is on time"
    assert (decision.row.runs, decision.row.skipped) == (4, 56)
    decision.change(Template(work_id="w"))


def test_a_limit_above_what_was_missed_leaves_nothing_out() -> None:
    decision = decide(a_row(), EACH_MINUTE, Policy(catchup=Catchup.ALL, catchup_max=100), 3600, 0)
    assert told(decision) == [("made", 60, 3600, 60)]


def test_a_limit_counts_within_the_window_and_holds_for_all_parts() -> None:
    policy = Policy(catchup=Catchup.ALL, catchup_max=BATCH_MAX + 7, window_us=3 * HOUR_US)
    first = decide(a_row(), EACH_SECOND, policy, 4 * 3600, 0)
    second = decide(first.row, EACH_SECOND, policy, 4 * 3600, 0)
    assert [reason for reason, *_ in told(first)] == [Reason.TOO_OLD, Reason.MISSED, Reason.MADE]
    assert [reason for reason, *_ in told(second)] == [Reason.MADE]
    assert (len(first.made), len(second.made), second.whole) == (BATCH_MAX, 7 + 60, True), "60 were on time"


def test_catching_up_at_a_rate_goes_on_after_the_end() -> None:
    policy = Policy(catchup=Catchup.ALL, rate=2.0, end_us=START + 1800 * SECOND_US)
    first = decide(a_row(), EACH_MINUTE, policy, 3600)
    now = START + 3600 * SECOND_US
    assert [due for _, due in first.made] == [now + n * SECOND_US // 2 for n in range(11)]
    assert first.row.wake_at == now + 11 * SECOND_US // 2


@pytest.mark.parametrize("catchup", [Catchup.SKIP, Catchup.ONE])
def test_a_year_of_missed_seconds_is_jumped_over(catchup: Catchup) -> None:
    """31,536,000 of them; to walk them would take minutes."""
    year_s = 365 * 86_400
    decision = decide(a_row(), EACH_SECOND, Policy(catchup=catchup, window_us=DAY_US * 400), year_s)
    assert sum(row.count or 0 for row in decision.ledger) == year_s + 5
    assert len(decision.ledger) == 2


def test_what_cannot_be_counted_at_once_is_a_range_without_a_count() -> None:
    trigger = Listed(tuple(START + n * SECOND_US for n in range(1, COUNTED_MAX + 1000)))
    decision = decide(a_row(), trigger, Policy(catchup=Catchup.SKIP), COUNTED_MAX + 500)
    assert told(decision)[0] == ("missed", 1, COUNTED_MAX + 440, None)
    assert decision.row.skipped == 0


# -- Bounds


class Forgetful(Listed, frozen=True, tag="forgetful"):
    """Times of which one is left out when they are asked for one by one."""

    def count_us(self, start_us: int, end_us: int) -> int:
        return super().count_us(start_us, end_us) + 1


def test_a_decision_that_leaves_a_time_out_is_not_carried_out() -> None:
    decision = decide(a_row(), Forgetful((START + 1, START + 2)), Policy(), 1)
    assert len(decision.made) == 2
    with pytest.raises(InvalidEntryError, match=r"has 3 times from .*, and 2 are accounted for: nothing is decided"):
        decision.change(Template(work_id="w"))


def test_a_schedule_ends_with_its_end() -> None:
    policy = Policy(end_us=START + 3 * MINUTE_US)
    decision = decide(a_row(), EACH_MINUTE, policy, 150, 10 * MINUTE_US)
    assert seconds(decision) == [60, 120, 180]
    assert (decision.row.next_at, decision.row.wake_at) == (None, None)
    assert decision.whole


@pytest.mark.parametrize("catchup", [Catchup.ONE, Catchup.ALL])
def test_a_schedule_makes_no_more_runs_than_it_may(catchup: Catchup) -> None:
    policy = Policy(max_runs=3, catchup=catchup)
    decision = decide(a_row(runs=1), EACH_MINUTE, policy, 3600)
    assert len(decision.made) == 2
    assert (decision.row.runs, decision.row.next_at, decision.row.wake_at) == (3, None, None)
    after = decide(decision.row, EACH_MINUTE, policy, 7200)
    assert (after.made, after.ledger) == ([], [])


def test_jitter_is_a_share_of_each_schedules_own_and_ends_before_the_next() -> None:
    row = a_row()
    share = share_of(row.id)
    assert 0 < share < 1
    assert share != share_of("other")
    wide = decide(row, EACH_MINUTE, Policy(jitter_us=HOUR_US), 60)
    narrow = decide(row, EACH_MINUTE, Policy(jitter_us=SECOND_US), 60)
    assert wide.made == [(START + MINUTE_US, START + MINUTE_US + round((MINUTE_US - 1) * share))]
    assert narrow.made == [(START + MINUTE_US, START + MINUTE_US + round(SECOND_US * share))]


def test_a_schedule_in_local_time_is_looked_at_every_day_for_new_rules_of_its_zone() -> None:
    yearly = Cron("0 9 1 7 *", tz="Europe/Berlin")
    row = decide(a_row(), yearly, Policy(), 1).row
    assert row.next_at == yearly.next_us(START)
    assert row.wake_at is not None
    assert START + DAY_US // 2 <= row.wake_at <= START + DAY_US + SECOND_US
    again = Decision(row, yearly, Policy(), now=row.wake_at, until=row.wake_at + AHEAD_US)
    assert (again.made, again.ledger, again.row.next_at) == ([], [], row.next_at)
    other_rules = Cron("0 9 1 7 *", tz="Europe/London")  # as if Berlin had moved: a node with a new tz database
    moved = Decision(row, other_rules, Policy(), now=row.wake_at, until=row.wake_at + AHEAD_US).row
    assert moved.next_at == other_rules.next_us(START) != row.next_at
    utc = decide(a_row(), Cron("0 9 1 7 *"), Policy(), 1).row
    assert utc.wake_at == utc.next_at


# -- Paused


def test_nothing_is_decided_while_a_schedule_is_paused() -> None:
    row = a_row(paused_at=START, paused_until=START + HOUR_US, paused_note="why", paused_by="ann")
    decision = decide(row, EACH_MINUTE, Policy(), 3000)
    assert (decision.made, decision.ledger) == ([], [])
    assert decision.row.wake_at == START + HOUR_US
    forever = decide(replace(row, paused_until=None), EACH_MINUTE, Policy(), 3000)
    assert (forever.made, forever.ledger, forever.row.wake_at) == ([], [], None)


def test_a_pause_ends_by_itself_and_is_accounted_for() -> None:
    row = a_row(paused_at=START, paused_until=START + HOUR_US, paused_note="why", paused_by="ann")
    decision = decide(row, EACH_MINUTE, Policy(), 3655)
    assert told(decision) == [("paused", 60, 3600, 60), ("made", 3660, 3660, 1)]
    after = decision.row
    assert (after.paused_at, after.paused_until, after.paused_note, after.paused_by) == (None, None, None, None)
    assert after.skipped == 60


# -- Whatever happens


def random_trigger(random: Random) -> Trigger:
    times, at = list[int](), START
    for _ in range(400):
        at += random.choice([1, SECOND_US, 7 * SECOND_US, MINUTE_US, HOUR_US, random.randrange(1, 2 * HOUR_US)])
        times.append(at)
    return random.choice(
        [
            Listed(tuple(times)),
            Every(timedelta(seconds=random.choice([1, 7, 60, 3600]))),
            Cron(random.choice(["* * * * *", "*/15 * * * *", "30 2 * * *", "0 9 * * mon-fri"]), tz="Europe/Berlin"),
        ]
    )


def random_policy(random: Random) -> Policy:
    return Policy(
        catchup=random.choice(list(Catchup)),
        window_us=random.choice([MINUTE_US, HOUR_US, DAY_US]),
        misfire_us=random.choice([0, SECOND_US, MINUTE_US]),
        catchup_max=random.choice([None, None, 1, 20]),
        rate=random.choice([None, 0.5, 100.0]),
        jitter_us=random.choice([0, MINUTE_US]),
        end_us=random.choice([None, START + 30 * HOUR_US]),
        max_runs=random.choice([None, None, 50]),
    )


class Story(Struct):
    """What a schedule went through."""

    row: ScheduleRow
    made: list[int]
    ledger: list[LedgerRow]


def random_story(random: Random, trigger: Trigger, policy: Policy) -> Story:
    story, now = Story(a_row(), [], []), START
    for _ in range(60):
        now += random.choice([0, SECOND_US, MINUTE_US, HOUR_US, random.randrange(5 * HOUR_US), -MINUTE_US])
        if random.random() < 0.1 and story.row.paused_at is None:
            until = random.choice([now + MINUTE_US, now + 3 * HOUR_US])
            story.row = replace(story.row, paused_at=now, paused_until=until)
        decision = Decision(story.row, trigger, policy, now=now, until=now + random.choice([0, AHEAD_US]))
        assert decision.row.decided >= story.row.decided
        story.row = decision.row
        story.made += [nominal for nominal, _ in decision.made]
        story.ledger += decision.ledger
    return story


def enumerated(trigger: Trigger, row: ScheduleRow) -> Iterator[int]:
    return trigger.walk_us(START + 1, row.decided + 1)


@pytest.mark.parametrize("seed", range(200))
def test_every_nominal_time_is_accounted_for_once_whatever_happens(seed: int) -> None:
    random = Random(seed)
    trigger, policy = random_trigger(random), random_policy(random)
    story = random_story(random, trigger, policy)
    covered = [at for row in story.ledger for at in trigger.walk_us(row.first, row.last + 1)]
    assert covered == list(enumerated(trigger, story.row))
    assert [
        at for row in story.ledger if row.reason == Reason.MADE for at in trigger.walk_us(row.first, row.last + 1)
    ] == story.made
    for row in story.ledger:
        assert row.count in {None, len(list(trigger.walk_us(row.first, row.last + 1)))}
    assert story.row.runs == len(story.made)
    if all(row.count is not None for row in story.ledger):
        assert len(covered) == story.row.runs + story.row.skipped + story.row.coalesced


@pytest.mark.parametrize("seed", range(50))
def test_all_nodes_decide_alike(seed: int) -> None:
    random = Random(seed)
    trigger, policy = random_trigger(random), random_policy(random)
    row = random_story(random, trigger, policy).row
    one, two = (
        Decision(row, trigger, policy, now=row.modified_at + HOUR_US, until=row.modified_at + HOUR_US) for _ in range(2)
    )
    assert one.change(Template(work_id="w")) == two.change(Template(work_id="w"))
