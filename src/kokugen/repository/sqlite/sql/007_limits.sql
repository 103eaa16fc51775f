CREATE TABLE limit_rule (
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  at_once INTEGER,
  interval_us INTEGER,
  burst INTEGER NOT NULL,
  PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_bucket (
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  spent_until INTEGER NOT NULL,
  PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- The gates that a task has to pass, and the one at which it waits; empty: it is not due, and in no line yet.
ALTER TABLE task ADD COLUMN limit_key TEXT;
ALTER TABLE task ADD COLUMN limit_work TEXT;
ALTER TABLE task ADD COLUMN limit_queue TEXT;
ALTER TABLE task ADD COLUMN gate TEXT;

CREATE INDEX task_gate ON task (namespace, gate, rank, due_at, id) WHERE state = 0 AND hold = 'limit' AND gate <> '';
CREATE INDEX task_gate_later ON task (namespace, due_at) WHERE state = 0 AND hold = 'limit' AND gate = '';
CREATE INDEX task_gate_deadline ON task (namespace, start_deadline)
  WHERE state = 0 AND hold = 'limit' AND start_deadline IS NOT NULL;

-- Who has a slot: passed the gate, and is not over.
CREATE INDEX task_key_slot ON task (namespace, limit_key)
  WHERE limit_key IS NOT NULL AND state IN (0, 1) AND (gate IS NULL OR gate IS limit_work OR gate IS limit_queue);
CREATE INDEX task_work_slot ON task (namespace, limit_work)
  WHERE limit_work IS NOT NULL AND state IN (0, 1) AND (gate IS NULL OR gate IS limit_queue);
CREATE INDEX task_queue_slot ON task (namespace, limit_queue)
  WHERE limit_queue IS NOT NULL AND state IN (0, 1) AND gate IS NULL;

-- Whatever makes a task wait, or moves it, has it pass its gates anew; nothing but passing the last one lets it go.
CREATE TRIGGER task_gated AFTER UPDATE OF state, hold, due_at ON task
WHEN NEW.state = 0 AND coalesce(NEW.limit_key, NEW.limit_work, NEW.limit_queue) IS NOT NULL AND (
  (NEW.hold IS NULL AND (NEW.gate IS NOT NULL OR OLD.state <> 0)) OR (NEW.hold IS NOT NULL AND NEW.gate IS NULL)
  OR (((NEW.due_at > OLD.due_at AND NEW.gate IS OLD.gate) OR NEW.hold <> 'limit')
      AND NEW.gate IS NOT ''))
BEGIN
  UPDATE task SET gate = '', hold = coalesce(hold, 'limit')
   WHERE namespace = NEW.namespace AND id = NEW.id;
END;

-- An occurrence that waits at a gate is the active one of its schedule, as one that any claim may take.
DROP INDEX task_active;
CREATE UNIQUE INDEX task_active ON task (namespace, schedule_id)
  WHERE overlap IS NOT NULL AND (state = 1 OR (state = 0 AND (hold IS NULL OR hold = 'limit')));

DROP TRIGGER task_overlap_ended;
CREATE TRIGGER task_overlap_ended AFTER UPDATE OF state ON task
WHEN NEW.overlap IS NOT NULL AND NEW.state >= 2 AND OLD.state < 2 AND (OLD.hold IS NULL OR OLD.hold = 'limit')
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
