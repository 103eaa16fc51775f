"""What a repository can be asked, as the lanes know it: the statement, its lane, and whether it may be sent again.

A lane has its own order: calls of one lane do not wait for those of another.
"""

from __future__ import annotations

from kokugen.repository.postgres import changes, limits, reading, runs, schedules, tasks
from kokugen.repository.postgres.lane import Action

ADD = Action(
    run=tasks.add,
    what="adding tasks",
    lane="add",
    merges=True,
    repeatable=True,
    size=lambda task: len(task.param),
)
CLAIM = Action(run=tasks.claim, what="a claim", lane="claim")
HELD = Action(run=tasks.held, what="asking for a claim", lane="claim", reads=True)
FINISH = Action(
    run=runs.finish,
    what="writing outcomes",
    lane="finish",
    merges=True,
    repeatable=True,
    size=lambda row: len(row.result or "") + len(row.error or ""),
)

BEAT = Action(run=runs.beat, what="a beat", lane="keep", merges=True, repeatable=True)
PART = Action(run=runs.part, what="a last beat", lane="keep", repeatable=True)
REPORT = Action(run=runs.report, what="telling of progress", lane="keep", repeatable=True)
WATCH = Action(run=runs.watch, what="watching", lane="keep", reads=True)
RECOVER = Action(run=runs.recover, what="recovering runs", lane="keep")
REGISTER = Action(run=changes.register, what="registering a node", lane="keep", repeatable=True)
RETIRE = Action(run=runs.retire, what="retiring a node", lane="keep", repeatable=True)
NODES = Action(run=reading.nodes, what="reading the nodes", lane="keep", reads=True)

CANCEL = Action(run=changes.cancel, what="a cancellation", lane="steer")
REVISE = Action(run=changes.revise, what="changing a task", lane="steer")
TRANSITION = Action(run=changes.transition, what="changing a state", lane="steer")
REVIVE = Action(run=changes.revive, what="reviving tasks", lane="steer")
PRUNE = Action(run=changes.prune, what="pruning", lane="steer", repeatable=True)

GET = Action(run=reading.get, what="reading tasks", lane="look", merges=True, reads=True)
OVER = Action(run=reading.over, what="looking for ends", lane="look", reads=True)
PAGE = Action(run=reading.page, what="reading a page", lane="read", reads=True)
COUNT = Action(run=reading.count, what="counting tasks", lane="read", reads=True)
ATTEMPTS = Action(run=reading.attempts, what="reading a history", lane="look", reads=True)
HEALTH = Action(run=reading.health, what="reading the store's health", lane="read", reads=True)
MODIFIED_SINCE = Action(run=reading.modified_since, what="reading updates", lane="read", reads=True)

DECLARE_LIMITS = Action(run=limits.declare, what="declaring limits", lane="plan", repeatable=True)
ADMIT = Action(run=limits.admit, what="letting tasks pass their limits", lane="plan", repeatable=True)
GATES = Action(run=limits.gates, what="reading limits", lane="look", reads=True)

CHANGE_SCHEDULES = Action(
    run=schedules.change,
    what="changing schedules",
    lane="plan",
    merges=True,
    size=lambda change: sum(len(task.param) for task in change.tasks),
)
SETTLE_OVERLAPS = Action(run=schedules.settle_overlaps, what="settling overlaps", lane="plan", repeatable=True)
DUE_SCHEDULES = Action(run=schedules.due, what="asking for due schedules", lane="plan", reads=True)
FORGET_OCCURRENCES = Action(run=schedules.forget, what="forgetting occurrences", lane="steer", repeatable=True)
SCHEDULES = Action(run=schedules.page, what="reading schedules", lane="look", reads=True)
LEDGER = Action(run=schedules.ledger, what="reading a ledger", lane="look", reads=True)
SCHEDULE_AUDIT = Action(run=schedules.audit, what="reading an audit", lane="look", reads=True)
