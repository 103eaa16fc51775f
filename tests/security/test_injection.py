"""Texts that break out of what they are put into are stored and answered as they are, or refused: by every store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from kokugen import Scheduler, Settings, TaskParam
from kokugen.codec import cut_error, decode_params, encode_params
from kokugen.errors import KokugenError
from kokugen.repository.rows import (
    AddResult,
    CancelRequest,
    CancelResult,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    NewTask,
    Report,
    Revision,
)
from kokugen.repository.schedule_rows import (
    AuditRow,
    LedgerQuery,
    LedgerRow,
    ScheduleChange,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.schedule_options import ScheduleOptions
from kokugen.task import NodeInfo, Params, TaskQuery, TaskState, replace
from kokugen.testing import ManualClock
from tests.security.conftest import Open
from tests.security.strings import HOSTILE, PIECES, TEXTS

NOW = ManualClock().wall_us()
AT = datetime(2030, 1, 1, tzinfo=UTC)
SOME = TEXTS[::40]
WAIT_S = 60.0


def answer(reply: Any) -> Any:
    return reply.result(WAIT_S)


def task_of(text: str) -> NewTask:
    """A task that has this text wherever it can have one."""
    return NewTask(
        id=text,
        work_id=text,
        queue=text,
        unique_key=text,
        tags=msgspec.json.encode([text, "plain"]).decode(),
        param=encode_params(Params((text,), {text: text})),
        zone=text,
        local_time=text,
        due_at=NOW,
        scheduled_time=NOW,
    )


def test_there_are_two_thousand_of_them() -> None:
    assert len(TEXTS) == len(set(TEXTS)) > 2000


def test_tasks_come_back_as_they_were_stored_and_are_found_by_each_text_alone(open_store: Open) -> None:
    store = open_store()
    added = answer(store.add([task_of(text) for text in TEXTS]))
    assert [(one.id, one.result) for one in added] == [(text, AddResult.ADDED) for text in TEXTS]
    found = {info.id: info for text in TEXTS[::500] for info in answer(store.get(TEXTS))}
    assert found.keys() == set(TEXTS)
    for text, info in found.items():
        assert (info.work_id, info.queue, info.unique, info.tags) == (text, text, text, (text, "plain"))
        assert (info.zone, info.local_time) == (text, text)
        assert info.param == Params((text,), {text: text})
    for text in SOME:
        for name in ("work_id", "queue", "unique", "tag"):
            query = replace(TaskQuery(), **{name: text})
            assert [info.id for info in answer(store.page(query))] == [text], name
            assert answer(store.count(query)) == 1
    assert answer(store.count(TaskQuery())) == len(TEXTS)


def test_runs_have_each_text_in_every_verb_of_their_lives(open_store: Open) -> None:
    store = open_store()
    answer(store.add([task_of(text) for text in SOME]))
    for text in SOME:
        request = ClaimRequest(
            node_id=text, nonce=text, slots=5, queues=(text,), only=frozenset({text}), skip=frozenset({"x"}), ahead_us=0
        )
        (claimed,) = answer(store.claim(request)).tasks
        assert (claimed.id, claimed.work_id, claimed.queue) == (text, text, text)
        assert decode_params(claimed.param) == Params((text,), {text: text})
        assert [task.id for task in answer(store.held(text, text)).tasks] == [text]
        assert [one.id for one in answer(store.beat([Lease(text, text)]))] == [text]
        answer(store.report([Report(text, text, msgspec.json.encode((1, 0.5, text, NOW)).decode())]))
        assert text not in {one.owner for one in answer(store.watch(text))}
        assert (answer(store.get([text]))[0].owner, answer(store.get([text]))[0].progress.text) == (text, text)
    ends = [
        Finish(id=text, claim=text, state=TaskState.INITIALIZED, outcome="retry", hold=text, reason=text, error=text)
        for text in SOME
    ]
    assert answer(store.finish(ends)) == [Finished.APPLIED] * len(SOME)
    for text in SOME:
        info = answer(store.get([text]))[0]
        assert (info.hold, info.reason, info.error) == (text, text, text)
        (attempt,) = answer(store.attempts(text))
        assert (attempt.node, attempt.error) == (text, text)


def test_people_change_tasks_with_each_text(open_store: Open) -> None:
    store = open_store()
    answer(store.add([task_of(text) for text in SOME]))
    for text in SOME:
        answer(
            store.revise(text, Revision(work_id=text + "'", hold=text, zone=text, local_time=text, scheduled_time=1))
        )
        info = answer(store.get([text]))[0]
        assert (info.work_id, info.hold, info.zone) == (text + "'", text, text)
        (cancelled,) = answer(store.cancel(CancelRequest(ids=(text,), reason=text, by=text)))
        assert (cancelled.id, cancelled.result) == (text, CancelResult.CANCELLED)
        assert answer(store.get([text]))[0].reason == text
        assert answer(store.revive([text], by=text)) == [text]
    assert answer(store.count(TaskQuery())) == len(SOME)


def node_of(text: str) -> NodeInfo:
    texts: dict[str, Any] = dict.fromkeys(
        ("node_id", "label", "host", "boot_id", "pid_namespace", "version", "tzdata"), text
    )
    return NodeInfo(**texts, pid=1, pid_started=1)


def test_nodes_are_known_by_each_text(open_store: Open) -> None:
    store = open_store()
    for text in SOME:
        answer(store.register(node_of(text)))
        answer(store.retire(text))
    nodes = {node.node_id: node for node in answer(store.nodes())}
    assert nodes.keys() == set(SOME)
    for text, node in nodes.items():
        assert (node.label, node.host, node.boot_id, node.version, node.tzdata) == (text,) * 5
        assert node.stopped_at is not None


def schedule_of(text: str) -> ScheduleRow:
    texts: dict[str, Any] = dict.fromkeys(
        ("id", "name", "owner", "spec", "policy", "template", "paused_note", "paused_by"), text
    )
    return ScheduleRow(**texts, decided=NOW, created_at=NOW, modified_at=NOW)


def test_schedules_their_ledger_and_audit_hold_each_text(open_store: Open) -> None:
    store = open_store()
    for text in SOME:
        row = schedule_of(text)
        entry = LedgerRow(schedule_id=text, gen=1, first=1, last=1, count=1, reason=text, detail=text, at=NOW)
        texts: dict[str, Any] = dict.fromkeys(("schedule_id", "name", "who", "what", "why", "before", "after"), text)
        audit = AuditRow(**texts, at=NOW)
        (changed,) = answer(store.change_schedules([ScheduleChange(row=row, ledger=[entry], audit=audit)]))
        assert changed.applied
        assert answer(store.schedules(ScheduleQuery(names=(text,)))) == [row]
        assert answer(store.schedules(ScheduleQuery(owner=text))) == [row]
        assert answer(store.ledger(LedgerQuery(schedule_id=text, first=-5, last=5))).rows == [entry]
        assert answer(store.schedule_audit(text)) == [audit]
    assert len(answer(store.schedules(ScheduleQuery(limit=1000)))) == len(SOME)


def test_namespaces_of_any_text_never_see_each_other(open_store: Open) -> None:
    plain = open_store()
    if plain.url.startswith("memory"):
        pytest.skip("a store in memory has one namespace")
    answer(plain.add([task_of("plain")]))
    for text in PIECES:
        store = open_store(text)
        assert answer(store.count(TaskQuery())) == 0, text
        answer(store.add([task_of(text)]))
        (info,) = answer(store.page(TaskQuery()))
        assert (info.id, info.namespace) == (text, text)
        assert answer(store.cancel(CancelRequest(ids=("plain",))))[0].result is CancelResult.MISSING
        store.close()
    assert [info.id for info in answer(plain.page(TaskQuery()))] == ["plain"]


# -- Through the face, with what is no text too


CALLS: dict[str, Callable[[Scheduler, Any], object]] = {
    "work id": lambda face, text: face.schedule(TaskParam(work_id=text, scheduled_time=AT)),
    "id": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, id=text)),
    "queue": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, queue=text)),
    "unique": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, unique=text)),
    "tag": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, tags=(text,))),
    "place": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, on=text)),
    "argument": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, param=[text])),
    "keyword": lambda face, text: face.schedule(TaskParam(work_id="w", scheduled_time=AT, param={text: text})),
    "get": lambda face, text: face.get(text),
    "attempts": lambda face, text: face.attempts(text),
    "tasks of work": lambda face, text: list(face.tasks(work=text)),
    "tasks of queue": lambda face, text: list(face.tasks(queue=text)),
    "tasks of tag": lambda face, text: list(face.tasks(tag=text)),
    "tasks of unique": lambda face, text: list(face.tasks(unique=text)),
    "tasks of chain": lambda face, text: list(face.tasks(chain=text)),
    "tasks of state": lambda face, text: list(face.tasks(state=text)),
    "count": lambda face, text: face.count(tag=text),
    "cancel": lambda face, text: face.cancel(text),
    "reason": lambda face, text: face.cancel("there", reason=text),
    "cancel all": lambda face, text: face.cancel_all(queue=text, reason=text),
    "reschedule": lambda face, text: face.reschedule(text, AT),
    "rescheduled by": lambda face, text: face.reschedule("there", AT, by=text),
    "revive": lambda face, text: face.revive(text),
    "revived by": lambda face, text: face.revive("there", by=text),
    "release": lambda face, text: face.release(text),
    "schedule name": lambda face, text: face.put_schedule(
        timedelta(hours=1), TaskParam(work_id="w", scheduled_time=AT), ScheduleOptions(name=text)
    ),
    "made by": lambda face, text: face.put_schedule(
        timedelta(hours=1), TaskParam(work_id="w", scheduled_time=AT), ScheduleOptions(name="made"), by=text
    ),
    "schedule of": lambda face, text: face.schedule_of(text),
    "schedules of": lambda face, text: face.schedules(owner=text),
    "edit": lambda face, text: face.edit(text, timedelta(hours=2)),
    "edit why": lambda face, text: face.edit("hourly", timedelta(hours=2), by="me", why=text),
    "pause": lambda face, text: face.pause(text),
    "pause note": lambda face, text: face.pause("hourly", note=text),
    "paused by": lambda face, text: face.pause("hourly", by=text),
    "resume": lambda face, text: face.resume(text),
    "trigger": lambda face, text: face.trigger(text),
    "trigger why": lambda face, text: face.trigger("hourly", why=text),
    "backfill": lambda face, text: face.backfill(text, AT, AT + timedelta(days=1)),
    "remove": lambda face, text: face.remove(text),
    "rollback": lambda face, text: face.rollback(text),
    "occurrences": lambda face, text: face.occurrences(text),
    "audit": lambda face, text: face.schedule_audit(text),
    "why": lambda face, text: face.why(text),
    "zone": lambda face, text: face.every("0 9 * * *", face.works, tz=text),  # type: ignore[call-overload]
    "namespace": lambda face, text: Scheduler("memory://", namespace=text),
    "label": lambda face, text: Scheduler("memory://", label=text),
    "queue to serve": lambda face, text: Scheduler("memory://", queues=[text]),
    "owner": lambda face, text: Scheduler("memory://", owner=text),
}


@pytest.fixture
def face(open_store: Open) -> Scheduler:
    scheduler = Scheduler(repository=open_store(), settings=Settings())
    scheduler.schedule(TaskParam(work_id="w", scheduled_time=AT, id="there"))
    param = TaskParam(work_id="w", scheduled_time=AT)
    scheduler.put_schedule(timedelta(hours=1), param, ScheduleOptions(name="hourly"))
    return scheduler


def test_the_face_answers_or_refuses_whatever_text_it_is_given(face: Scheduler) -> None:
    refused = 0
    for name, call in CALLS.items():
        for text in HOSTILE:
            try:
                call(face, text)
            except KokugenError as error:
                refused += bool(str(error))
            except Exception as error:
                raise AssertionError(f"{name} with {text!a} met with {error!r}") from error
    assert 0 < refused < len(CALLS) * len(HOSTILE)
    assert face.get("there").work_id == "w"
    assert "hourly" in {info.name for info in face.schedules()}


def kept(face: Scheduler, text: str) -> list[tuple[str, object, object]]:
    """Give a text wherever people may write what they like; return what was kept of it, beside what was to be kept.

    A reason, like an error, is cut where it is too long, and has an escape for what is no text.
    """
    found: list[tuple[str, object, object]] = []

    def tell(name: str, expected: object, ask: Callable[[], object]) -> None:
        try:
            found.append((name, expected, ask()))
        except KokugenError:
            return

    param = Params((text, [text]), {"word": text})
    tell(
        "arguments",
        param,
        lambda: face.get(face.schedule(TaskParam(work_id="w", scheduled_time=AT, param=param)).id).param,
    )
    tell(
        "unique",
        text,
        lambda: face.get(face.schedule(TaskParam(work_id="w", scheduled_time=AT, unique=text)).id).unique,
    )
    tell("note", text, lambda: face.pause("hourly", note=text).paused_note)
    tell(
        "why",
        text,
        lambda: (face.edit("hourly", timedelta(hours=3), why=text), face.schedule_audit("hourly")[0].why)[1],
    )
    tell("who", text, lambda: (face.resume("hourly", by=text), face.schedule_audit("hourly")[0].who)[1])
    task = face.schedule(TaskParam(work_id="w", scheduled_time=AT))
    tell("reason", cut_error(text), lambda: (face.cancel(task.id, reason=text), face.get(task.id).reason)[1])
    return found


def test_what_people_write_is_kept_as_it_is_or_refused(face: Scheduler) -> None:
    for text in HOSTILE:
        for name, expected, found in kept(face, text):
            assert found == expected, f"{name}: {text!a}"
    assert len(kept(face, "plain words")) == 6
