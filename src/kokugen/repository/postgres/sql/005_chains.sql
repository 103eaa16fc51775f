ALTER TABLE task
  ADD COLUMN chain text COLLATE "C",
  ADD COLUMN follows text COLLATE "C",
  ADD COLUMN follows_on smallint, -- 1: after Done, 2: after Failed, 3: after either
  ADD COLUMN follows_delay bigint,
  ADD COLUMN follows_arg text,
  ADD COLUMN given text,
  ADD CHECK (follows_on BETWEEN 1 AND 3);

CREATE INDEX task_chain ON task (namespace, chain, follows) WHERE chain IS NOT NULL;

-- Whatever ends a task lets go those that follow such an end, and cancels the others; their own followers are cancelled
-- by their own end in turn. What makes it wait again takes back with it those that it kept from being reached.
CREATE FUNCTION chain_moved() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF NEW.state >= 2 THEN
    UPDATE task t
       SET hold = NULL, due_at = NEW.finished_at + t.follows_delay, scheduled_time = NEW.finished_at + t.follows_delay,
           start_deadline = t.start_deadline + NEW.finished_at + t.follows_delay - t.due_at,
           zone = NULL, local_time = NULL,
           given = CASE WHEN t.follows_arg IS NULL THEN NULL
                        WHEN NEW.state = 2 THEN coalesce(NEW.result, 'null') ELSE 'null' END,
           modified_at = NEW.finished_at, rev = t.rev + 1
     WHERE t.namespace = NEW.namespace AND t.chain = NEW.chain AND t.follows = NEW.id
       AND t.state = 0 AND t.hold = 'chain'
       AND (NEW.state = 2 AND t.follows_on & 1 > 0 OR NEW.state = 4 AND t.follows_on & 2 > 0);
    UPDATE task t
       SET state = 3, reason = 'not reached', hold = NULL, finished_at = NEW.finished_at,
           modified_at = NEW.finished_at, rev = t.rev + 1
     WHERE t.namespace = NEW.namespace AND t.chain = NEW.chain AND t.follows = NEW.id
       AND t.state = 0 AND t.hold = 'chain';
  ELSE
    UPDATE task t
       SET hold = 'chain', rev = t.rev + 1
     WHERE t.namespace = NEW.namespace AND t.id = NEW.id AND NEW.state = 0 AND EXISTS (
       SELECT FROM task f WHERE f.namespace = NEW.namespace AND f.id = NEW.follows AND f.state < 2);
    UPDATE task t
       SET state = 0, hold = 'chain', reason = NULL, finished_at = NULL, modified_at = NEW.modified_at, rev = t.rev + 1
     WHERE t.namespace = NEW.namespace AND t.chain = NEW.chain AND t.follows = NEW.id
       AND t.state = 3 AND t.reason = 'not reached';
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER task_chain_moved AFTER UPDATE OF finished_at ON task FOR EACH ROW
WHEN (NEW.chain IS NOT NULL AND (NEW.state >= 2) <> (OLD.state >= 2))
EXECUTE FUNCTION chain_moved();
