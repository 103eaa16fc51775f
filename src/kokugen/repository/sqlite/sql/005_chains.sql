ALTER TABLE task ADD COLUMN chain TEXT;
ALTER TABLE task ADD COLUMN follows TEXT;
-- 1: after Done, 2: after Failed, 3: after either.
ALTER TABLE task ADD COLUMN follows_on INTEGER CHECK (follows_on BETWEEN 1 AND 3);
ALTER TABLE task ADD COLUMN follows_delay INTEGER;
ALTER TABLE task ADD COLUMN follows_arg TEXT;
ALTER TABLE task ADD COLUMN given TEXT;

CREATE INDEX task_chain ON task (namespace, chain, follows) WHERE chain IS NOT NULL;

-- Whatever ends a task lets go those that follow such an end, and cancels the others with all that follow them.
CREATE TRIGGER task_chain_ended AFTER UPDATE OF finished_at ON task
WHEN NEW.chain IS NOT NULL AND NEW.state >= 2 AND OLD.state < 2
BEGIN
  UPDATE task
     SET hold = NULL, due_at = NEW.finished_at + follows_delay, scheduled_time = NEW.finished_at + follows_delay,
         start_deadline = start_deadline + NEW.finished_at + follows_delay - due_at, zone = NULL, local_time = NULL,
         given = CASE WHEN follows_arg IS NULL THEN NULL WHEN NEW.state = 2 THEN coalesce(NEW.result, (
           SELECT body FROM task_result b WHERE b.namespace = NEW.namespace AND b.id = NEW.id), 'null') ELSE 'null' END,
         modified_at = NEW.finished_at, rev = rev + 1
   WHERE namespace = NEW.namespace AND chain = NEW.chain AND follows = NEW.id AND state = 0 AND hold = 'chain'
     AND ((NEW.state = 2 AND follows_on & 1) OR (NEW.state = 4 AND follows_on & 2));
  UPDATE task
     SET state = 3, reason = 'not reached', hold = NULL, finished_at = NEW.finished_at, modified_at = NEW.finished_at,
         rev = rev + 1
   WHERE namespace = NEW.namespace AND chain = NEW.chain AND id IN (
     WITH RECURSIVE behind (id) AS (
       SELECT id FROM task WHERE namespace = NEW.namespace AND chain = NEW.chain AND follows = NEW.id
          AND state = 0 AND hold = 'chain'
       UNION
       SELECT t.id FROM behind CROSS JOIN task t ON t.namespace = NEW.namespace AND t.chain = NEW.chain
          AND t.follows = behind.id AND t.state = 0 AND t.hold = 'chain')
     SELECT id FROM behind);
END;

-- What makes it wait again takes back with it those that it kept from being reached.
CREATE TRIGGER task_chain_revived AFTER UPDATE OF finished_at ON task
WHEN NEW.chain IS NOT NULL AND NEW.state < 2 AND OLD.state >= 2
BEGIN
  UPDATE task SET hold = 'chain', rev = rev + 1
   WHERE namespace = NEW.namespace AND id = NEW.id AND NEW.state = 0 AND EXISTS (
     SELECT 1 FROM task f WHERE f.namespace = NEW.namespace AND f.id = NEW.follows AND f.state < 2);
  UPDATE task
     SET state = 0, hold = 'chain', reason = NULL, finished_at = NULL, modified_at = NEW.modified_at, rev = rev + 1
   WHERE namespace = NEW.namespace AND chain = NEW.chain AND id IN (
     WITH RECURSIVE behind (id) AS (
       SELECT id FROM task WHERE namespace = NEW.namespace AND chain = NEW.chain AND follows = NEW.id
          AND state = 3 AND reason = 'not reached'
       UNION
       SELECT t.id FROM behind CROSS JOIN task t ON t.namespace = NEW.namespace AND t.chain = NEW.chain
          AND t.follows = behind.id AND t.state = 3 AND t.reason = 'not reached')
     SELECT id FROM behind);
END;
