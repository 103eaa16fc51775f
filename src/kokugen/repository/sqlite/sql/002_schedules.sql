CREATE TABLE schedule (
  namespace TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  owner TEXT,
  spec TEXT NOT NULL,
  policy TEXT NOT NULL,
  template TEXT NOT NULL,
  overlap TEXT NOT NULL,
  gen INTEGER NOT NULL,
  rev INTEGER NOT NULL,
  edition INTEGER NOT NULL,
  decided INTEGER NOT NULL,
  next_at INTEGER,
  wake_at INTEGER,
  spaced INTEGER,
  paused_at INTEGER,
  paused_until INTEGER,
  paused_note TEXT,
  paused_by TEXT,
  runs INTEGER NOT NULL,
  skipped INTEGER NOT NULL,
  coalesced INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  modified_at INTEGER NOT NULL,
  delay INTEGER,
  failures INTEGER NOT NULL DEFAULT 0,
  failures_max INTEGER,
  PRIMARY KEY (namespace, id),
  CHECK (overlap IN ('skip', 'queue_one', 'queue_all', 'replace', 'allow'))
) STRICT;

CREATE UNIQUE INDEX schedule_name ON schedule (namespace, name);
CREATE INDEX schedule_due ON schedule (namespace, wake_at, id) WHERE wake_at IS NOT NULL;

CREATE TABLE ledger (
  seq INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  schedule_id TEXT NOT NULL,
  gen INTEGER NOT NULL,
  "first" INTEGER NOT NULL,
  "last" INTEGER NOT NULL,
  "count" INTEGER,
  reason TEXT NOT NULL,
  stand_in INTEGER,
  detail TEXT,
  at INTEGER NOT NULL,
  CHECK ("first" <= "last")
) STRICT;

CREATE INDEX ledger_schedule ON ledger (namespace, schedule_id, "last");
CREATE INDEX ledger_old ON ledger (namespace, "last");

CREATE TABLE occurrence_end (
  seq INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  schedule_id TEXT NOT NULL,
  nominal INTEGER NOT NULL,
  task_id TEXT NOT NULL,
  state INTEGER NOT NULL,
  reason TEXT,
  error TEXT,
  finished_at INTEGER
) STRICT;

CREATE INDEX occurrence_end_schedule ON occurrence_end (namespace, schedule_id, nominal);
CREATE INDEX occurrence_end_old ON occurrence_end (namespace, nominal);

CREATE TABLE schedule_audit (
  seq INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  schedule_id TEXT NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  who TEXT,
  what TEXT NOT NULL,
  why TEXT,
  before TEXT,
  after TEXT
) STRICT;

CREATE INDEX schedule_audit_name ON schedule_audit (namespace, name, seq);
CREATE INDEX schedule_audit_schedule ON schedule_audit (namespace, schedule_id, at);

ALTER TABLE task ADD COLUMN schedule_id TEXT;
ALTER TABLE task ADD COLUMN nominal INTEGER;
ALTER TABLE task ADD COLUMN overlap TEXT;
ALTER TABLE task ADD COLUMN reports INTEGER NOT NULL DEFAULT 0;

CREATE UNIQUE INDEX task_occurrence ON task (namespace, schedule_id, nominal) WHERE schedule_id IS NOT NULL;

-- Of the occurrences of one schedule that may not overlap, one may be claimed or is Working; the others are on hold.
CREATE UNIQUE INDEX task_active ON task (namespace, schedule_id)
  WHERE overlap IS NOT NULL AND (state = 1 OR (state = 0 AND hold IS NULL));
CREATE INDEX task_overlapping ON task (namespace, schedule_id, due_at, id)
  WHERE overlap IS NOT NULL AND state = 0 AND hold = 'overlap';
CREATE INDEX task_overlap_due ON task (namespace, due_at, schedule_id)
  WHERE overlap IS NOT NULL AND state = 0 AND hold = 'overlap';

-- Whatever ends the one lets the next go. Those that are due already are cancelled, but for the one that is kept.
CREATE TRIGGER task_overlap_ended AFTER UPDATE OF state ON task
WHEN NEW.overlap IS NOT NULL AND NEW.state >= 2 AND OLD.state < 2 AND OLD.hold IS NULL
BEGIN
  UPDATE task SET state = 3, reason = 'overlap', hold = NULL, finished_at = NEW.modified_at,
         modified_at = NEW.modified_at, rev = rev + 1
   WHERE namespace = NEW.namespace AND schedule_id = NEW.schedule_id AND overlap IS NOT NULL AND state = 0
     AND hold = 'overlap' AND due_at < NEW.modified_at AND overlap <> 'queue_all'
     AND id IS NOT CASE overlap
       WHEN 'queue_one' THEN (
         SELECT id FROM task WHERE namespace = NEW.namespace AND schedule_id = NEW.schedule_id
            AND overlap IS NOT NULL AND state = 0 AND hold = 'overlap' ORDER BY due_at, id LIMIT 1)
       WHEN 'replace' THEN (
         SELECT id FROM task WHERE namespace = NEW.namespace AND schedule_id = NEW.schedule_id
            AND overlap IS NOT NULL AND state = 0 AND hold = 'overlap' AND due_at < NEW.modified_at
          ORDER BY due_at DESC, id DESC LIMIT 1)
       END;
  UPDATE task SET hold = NULL, modified_at = NEW.modified_at, rev = rev + 1
   WHERE namespace = NEW.namespace AND id = (
     SELECT id FROM task WHERE namespace = NEW.namespace AND schedule_id = NEW.schedule_id
        AND overlap IS NOT NULL AND state = 0 AND hold = 'overlap' ORDER BY due_at, id LIMIT 1);
END;

-- A schedule hears of the ends that it asked for: it counts failures in a row, and its delay begins with the last end.
CREATE TRIGGER task_occurrence_reports AFTER UPDATE OF state ON task
WHEN NEW.reports AND NEW.state >= 2 AND OLD.state < 2
BEGIN
  UPDATE schedule
     SET failures = iif(NEW.state = 4, failures + 1, 0), rev = rev + 1,
         wake_at = iif(NEW.state = 4 AND failures + 1 >= failures_max AND paused_at IS NULL,
                       min(coalesce(wake_at, NEW.modified_at), NEW.modified_at), wake_at)
   WHERE namespace = NEW.namespace AND id = NEW.schedule_id AND failures_max IS NOT NULL
     AND (NEW.state = 4 OR (NEW.state = 2 AND failures > 0));
  UPDATE schedule
     SET next_at = max(NEW.modified_at + delay, decided + 1), rev = rev + 1,
         wake_at = iif(paused_at IS NULL, min(coalesce(wake_at, max(NEW.modified_at + delay, decided + 1)),
                                              max(NEW.modified_at + delay, decided + 1)), wake_at)
   WHERE namespace = NEW.namespace AND id = NEW.schedule_id AND delay IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM task WHERE namespace = NEW.namespace AND schedule_id = NEW.schedule_id
                        AND overlap IS NOT NULL AND state < 2);
END;

-- The ledger outlives the tasks: what is not simply Done is written down when its row goes.
CREATE TRIGGER task_occurrence_gone AFTER DELETE ON task
WHEN OLD.schedule_id IS NOT NULL AND OLD.state IN (0, 3, 4)
BEGIN
  INSERT INTO occurrence_end (namespace, schedule_id, nominal, task_id, state, reason, error, finished_at)
  VALUES (OLD.namespace, OLD.schedule_id, OLD.nominal, OLD.id, OLD.state,
          iif(OLD.state = 0, 'replaced', OLD.reason), substr(OLD.error, 1, 1000), OLD.finished_at);
END;
