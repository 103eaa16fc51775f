CREATE TABLE schedule (
  decided bigint NOT NULL,
  next_at bigint,
  wake_at bigint,
  spaced bigint,
  paused_at bigint,
  paused_until bigint,
  created_at bigint NOT NULL,
  modified_at bigint NOT NULL,
  gen integer NOT NULL,
  rev bigint NOT NULL,
  edition integer NOT NULL,
  runs bigint NOT NULL,
  skipped bigint NOT NULL,
  coalesced bigint NOT NULL,
  delay bigint,
  failures integer NOT NULL DEFAULT 0,
  failures_max integer,
  declared bigint NOT NULL DEFAULT 0,
  namespace text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  owner text COLLATE "C",
  spec text NOT NULL,
  policy text NOT NULL,
  template text NOT NULL,
  overlap text NOT NULL,
  paused_note text,
  paused_by text,
  PRIMARY KEY (namespace, id),
  CHECK (overlap IN ('skip', 'queue_one', 'queue_all', 'replace', 'allow'))
);

CREATE UNIQUE INDEX schedule_name ON schedule (namespace, name);
CREATE INDEX schedule_due ON schedule (namespace, wake_at, id) WHERE wake_at IS NOT NULL;

CREATE TABLE ledger (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  first bigint NOT NULL,
  last bigint NOT NULL,
  count bigint,
  stand_in bigint,
  at bigint NOT NULL,
  gen integer NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C" NOT NULL,
  reason text NOT NULL,
  detail text,
  CHECK (first <= last)
);

CREATE INDEX ledger_old ON ledger (namespace, last);
CREATE INDEX ledger_schedule ON ledger (namespace, schedule_id, last, seq);

CREATE TABLE occurrence_end (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  nominal bigint NOT NULL,
  finished_at bigint,
  state smallint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  reason text,
  error text
);

CREATE INDEX occurrence_end_old ON occurrence_end (namespace, nominal);
CREATE INDEX occurrence_end_schedule ON occurrence_end (namespace, schedule_id, nominal);

CREATE TABLE schedule_audit (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at bigint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  schedule_id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  who text,
  what text NOT NULL,
  why text,
  before text,
  after text
);

CREATE INDEX schedule_audit_name ON schedule_audit (namespace, name, seq);
CREATE INDEX schedule_audit_schedule ON schedule_audit (namespace, schedule_id, at);

ALTER TABLE task
  ADD COLUMN schedule_id text COLLATE "C",
  ADD COLUMN nominal bigint,
  ADD COLUMN overlap text,
  ADD COLUMN reports boolean NOT NULL DEFAULT false;

CREATE UNIQUE INDEX task_occurrence ON task (namespace, schedule_id, nominal) WHERE schedule_id IS NOT NULL;

-- Of the occurrences of one schedule that may not overlap, one may be claimed or is Working; the others are on hold.
CREATE UNIQUE INDEX task_active ON task (namespace, schedule_id)
  WHERE overlap IS NOT NULL AND (state = 1 OR state = 0 AND hold IS NULL);
CREATE INDEX task_overlapping ON task (namespace, schedule_id, due_at, id)
  WHERE overlap IS NOT NULL AND state = 0 AND hold = 'overlap';
CREATE INDEX task_overlap_due ON task (namespace, due_at, schedule_id)
  WHERE overlap IS NOT NULL AND state = 0 AND hold = 'overlap';

-- Lets the earliest occurrence on hold go where nothing of its schedule is active; answers how many went.
CREATE FUNCTION release_occurrence(ns text, of text, at bigint) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  next text COLLATE "C";
BEGIN
  PERFORM FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL
     AND (t.state = 1 OR t.state = 0 AND t.hold IS NULL);
  IF FOUND THEN
    RETURN 0;
  END IF;
  SELECT t.id INTO next FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL
     AND t.state = 0 AND t.hold = 'overlap' ORDER BY t.due_at, t.id LIMIT 1;
  IF next IS NULL THEN
    RETURN 0;
  END IF;
  UPDATE task t SET hold = NULL, modified_at = at, rev = t.rev + 1
   WHERE t.namespace = ns AND t.id = next AND t.state = 0 AND t.hold = 'overlap';
  RETURN 1;
EXCEPTION WHEN unique_violation THEN
  RETURN 0; -- another transaction let one go at the same time
END $$;

-- Cancels the occurrences on hold that are overdue, but for those that their overlap keeps; answers how many.
CREATE FUNCTION judge_occurrences(ns text, of text, now_us bigint) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  earliest text COLLATE "C";
  latest text COLLATE "C";
  cancelled integer;
BEGIN
  SELECT t.id INTO earliest FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL
     AND t.state = 0 AND t.hold = 'overlap' ORDER BY t.due_at, t.id LIMIT 1;
  IF earliest IS NULL THEN
    RETURN 0;
  END IF;
  SELECT t.id INTO latest FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL
     AND t.state = 0 AND t.hold = 'overlap' AND t.due_at < now_us ORDER BY t.due_at DESC, t.id DESC LIMIT 1;
  UPDATE task t SET state = 3, reason = 'overlap', hold = NULL, finished_at = now_us, modified_at = now_us,
         rev = t.rev + 1
   WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL AND t.state = 0 AND t.hold = 'overlap'
     AND t.due_at < now_us AND t.overlap <> 'queue_all'
     AND t.id IS DISTINCT FROM CASE t.overlap WHEN 'queue_one' THEN earliest WHEN 'replace' THEN latest END;
  GET DIAGNOSTICS cancelled = ROW_COUNT;
  RETURN cancelled;
END $$;

-- Whatever ends the active one lets the next go.
CREATE FUNCTION occurrence_ended() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM judge_occurrences(NEW.namespace, NEW.schedule_id, NEW.modified_at);
  PERFORM release_occurrence(NEW.namespace, NEW.schedule_id, NEW.modified_at);
  RETURN NULL;
END $$;

CREATE TRIGGER task_overlap_ended AFTER UPDATE OF state ON task FOR EACH ROW
WHEN (NEW.overlap IS NOT NULL AND NEW.state >= 2 AND OLD.state < 2 AND OLD.hold IS NULL)
EXECUTE FUNCTION occurrence_ended();

-- A schedule hears of the ends that it asked for: it counts failures in a row, and its delay begins with the last end.
-- Its row is locked before the tasks of its that go then, as in change_schedule: the name puts it first.
CREATE FUNCTION occurrence_reports() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  told schedule%ROWTYPE;
  following bigint;
BEGIN
  SELECT * INTO told FROM schedule s WHERE s.namespace = NEW.namespace AND s.id = NEW.schedule_id FOR UPDATE;
  IF told.failures_max IS NOT NULL AND (NEW.state = 4 OR NEW.state = 2 AND told.failures > 0) THEN
    UPDATE schedule s
       SET failures = CASE NEW.state WHEN 4 THEN s.failures + 1 ELSE 0 END, rev = s.rev + 1,
           wake_at = CASE WHEN NEW.state = 4 AND s.failures + 1 >= s.failures_max AND s.paused_at IS NULL
                          THEN least(s.wake_at, NEW.modified_at) ELSE s.wake_at END
     WHERE s.namespace = NEW.namespace AND s.id = NEW.schedule_id;
  END IF;
  PERFORM FROM task t WHERE t.namespace = NEW.namespace AND t.schedule_id = NEW.schedule_id
     AND t.overlap IS NOT NULL AND t.state < 2;
  IF told.delay IS NULL OR FOUND THEN
    RETURN NULL;
  END IF;
  following := greatest(NEW.modified_at + told.delay, told.decided + 1);
  UPDATE schedule s
     SET next_at = following, rev = s.rev + 1,
         wake_at = CASE WHEN s.paused_at IS NULL THEN least(s.wake_at, following) ELSE s.wake_at END
   WHERE s.namespace = NEW.namespace AND s.id = NEW.schedule_id;
  RETURN NULL;
END $$;

CREATE TRIGGER task_occurrence_reports AFTER UPDATE OF state ON task FOR EACH ROW
WHEN (NEW.reports AND NEW.state >= 2 AND OLD.state < 2)
EXECUTE FUNCTION occurrence_reports();

-- The ledger outlives the tasks: what is not simply Done is written down when its row goes.
CREATE FUNCTION occurrence_gone() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO occurrence_end (namespace, schedule_id, nominal, task_id, state, reason, error, finished_at)
  VALUES (OLD.namespace, OLD.schedule_id, OLD.nominal, OLD.id, OLD.state,
          CASE WHEN OLD.state = 0 THEN 'replaced' ELSE OLD.reason END, left(OLD.error, 1000), OLD.finished_at);
  RETURN NULL;
END $$;

CREATE TRIGGER task_occurrence_gone AFTER DELETE ON task FOR EACH ROW
WHEN (OLD.schedule_id IS NOT NULL AND OLD.state IN (0, 3, 4))
EXECUTE FUNCTION occurrence_gone();

-- Deals with the occurrences on hold of one schedule; answers how many tasks changed.
CREATE FUNCTION settle_overlap(ns text, of text, now_us bigint) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  changed integer;
  more integer;
BEGIN
  changed := release_occurrence(ns, of, now_us) + judge_occurrences(ns, of, now_us);
  PERFORM FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL
     AND t.state = 0 AND t.hold = 'overlap' AND t.due_at < now_us AND t.overlap = 'replace';
  IF NOT FOUND THEN
    RETURN changed;
  END IF;
  UPDATE task t SET cancel_requested = true, reason = 'replaced', modified_at = now_us, rev = t.rev + 1
   WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL AND t.state = 1 AND NOT t.cancel_requested;
  GET DIAGNOSTICS more = ROW_COUNT;
  changed := changed + more;
  UPDATE task t SET state = 3, reason = 'overlap', finished_at = now_us, modified_at = now_us, rev = t.rev + 1
   WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL AND t.state = 0 AND t.hold IS NULL;
  GET DIAGNOSTICS more = ROW_COUNT;
  RETURN changed + more;
END $$;

-- Appends to a ledger; the first row may go on where the latest ends.
CREATE FUNCTION write_ledger(ns text, of text, entries jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  latest ledger%ROWTYPE;
  head jsonb := entries->0;
  behind integer := 0;
BEGIN
  SELECT * INTO latest FROM ledger l WHERE l.namespace = ns AND l.schedule_id = of
   ORDER BY l.last DESC, l.seq DESC LIMIT 1;
  IF FOUND AND latest.gen = (head->>1)::integer AND latest.reason = head->>5
     AND latest.stand_in IS NOT DISTINCT FROM (head->>6)::bigint AND latest.detail IS NOT DISTINCT FROM head->>7
     AND latest.last < (head->>2)::bigint AND latest.reason <> 'triggered' THEN
    UPDATE ledger l SET last = (head->>3)::bigint, count = l.count + (head->>4)::bigint, at = (head->>8)::bigint
     WHERE l.seq = latest.seq;
    behind := 1;
  END IF;
  INSERT INTO ledger (namespace, schedule_id, gen, first, last, count, reason, stand_in, detail, at)
  SELECT ns, j->>0, (j->>1)::integer, (j->>2)::bigint, (j->>3)::bigint, (j->>4)::bigint, j->>5, (j->>6)::bigint,
         j->>7, (j->>8)::bigint
    FROM jsonb_array_elements(entries) WITH ORDINALITY AS e (j, nr) WHERE nr > behind ORDER BY nr;
END $$;

-- Swaps one schedule's row where its revision is the one expected, with tasks, ledger and audit; answers [applied,
-- dropped]. The change is `kokugen.repository.schedule_rows.ScheduleChange` as an array.
CREATE FUNCTION change_schedule(ns text, change jsonb, now_us bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  s jsonb := change->0;
  of text := change->0->>0;
  expected bigint := (change->>1)::bigint;
  removes boolean := (change->>2)::boolean;
  since bigint := (change->>3)::bigint;
  dropped integer := 0;
BEGIN
  IF removes THEN
    DELETE FROM schedule x WHERE x.namespace = ns AND x.id = of AND x.rev = expected;
  ELSIF expected IS NULL THEN
    INSERT INTO schedule (namespace, id, name, owner, spec, policy, template, overlap, gen, rev, edition, decided,
           next_at, wake_at, spaced, paused_at, paused_until, paused_note, paused_by, runs, skipped, coalesced,
           created_at, modified_at, delay, failures, failures_max, declared)
    VALUES (ns, of, s->>1, s->>2, s->>3, s->>4, s->>5, s->>6, (s->>7)::integer, (s->>8)::bigint, (s->>9)::integer,
           (s->>10)::bigint, (s->>11)::bigint, (s->>12)::bigint, (s->>13)::bigint, (s->>14)::bigint, (s->>15)::bigint,
           s->>16, s->>17, (s->>18)::bigint, (s->>19)::bigint, (s->>20)::bigint, (s->>21)::bigint, (s->>22)::bigint,
           (s->>23)::bigint, (s->>24)::integer, (s->>25)::integer, (s->>26)::bigint)
    ON CONFLICT DO NOTHING;
  ELSE
    UPDATE schedule x
       SET name = s->>1, owner = s->>2, spec = s->>3, policy = s->>4, template = s->>5, overlap = s->>6,
           gen = (s->>7)::integer, rev = (s->>8)::bigint, edition = (s->>9)::integer, decided = (s->>10)::bigint,
           next_at = (s->>11)::bigint, wake_at = (s->>12)::bigint, spaced = (s->>13)::bigint,
           paused_at = (s->>14)::bigint, paused_until = (s->>15)::bigint, paused_note = s->>16, paused_by = s->>17,
           runs = (s->>18)::bigint, skipped = (s->>19)::bigint, coalesced = (s->>20)::bigint,
           created_at = (s->>21)::bigint, modified_at = (s->>22)::bigint, delay = (s->>23)::bigint,
           failures = (s->>24)::integer, failures_max = (s->>25)::integer, declared = (s->>26)::bigint
     WHERE x.namespace = ns AND x.id = of AND x.rev = expected;
  END IF;
  IF NOT FOUND THEN
    RETURN '[false, 0]';
  END IF;
  IF since IS NOT NULL THEN
    DELETE FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.nominal >= since AND t.state = 0;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    IF NOT removes AND EXISTS (
      SELECT FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.nominal >= since) THEN
      RAISE EXCEPTION USING ERRCODE = 'KK001', MESSAGE = 'a task that is to be taken back waits no more';
    END IF;
    UPDATE schedule x SET runs = x.runs - dropped WHERE x.namespace = ns AND x.id = of AND dropped > 0;
  END IF;
  INSERT INTO task (
    namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
    start_deadline, unique_key, tags, options, zone, local_time, schedule_id, nominal, overlap, reports, hold,
    created_at, modified_at)
  SELECT ns, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint, (j->>7)::smallint,
         (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer, (j->>10)::bigint, j->>11, j->>12, j->>13, j->>14,
         j->>15, j->>16, (j->>17)::bigint, j->>18, (j->>19)::boolean, CASE WHEN j->>18 IS NOT NULL THEN 'overlap' END, now_us, now_us
    FROM jsonb_array_elements(change->4) AS j
  ON CONFLICT DO NOTHING;
  PERFORM release_occurrence(ns, of, now_us);
  IF s->>23 IS NOT NULL AND NOT removes THEN -- with a delay there is no next time while one waits or runs
    UPDATE task t SET reports = true
     WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL AND t.state < 2 AND NOT t.reports;
    UPDATE schedule x
       SET next_at = NULL, wake_at = CASE WHEN x.paused_at IS NULL THEN NULL ELSE x.wake_at END
     WHERE x.namespace = ns AND x.id = of AND EXISTS (
       SELECT FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL AND t.state < 2);
  END IF;
  IF jsonb_array_length(change->5) > 0 THEN
    PERFORM write_ledger(ns, of, change->5);
  END IF;
  IF jsonb_typeof(change->6) = 'array' THEN
    INSERT INTO schedule_audit (namespace, schedule_id, name, at, who, what, why, before, after)
    SELECT ns, a->>0, a->>1, (a->>2)::bigint, a->>3, a->>4, a->>5, a->>6, a->>7 FROM (SELECT change->6 AS a) AS one;
  END IF;
  RETURN jsonb_build_array(true, dropped);
EXCEPTION WHEN unique_violation OR SQLSTATE 'KK001' THEN
  RETURN '[false, 0]'; -- another schedule has the name, or a task of its own is settled
END $$;
