CREATE TABLE limit_rule (
  at_once integer,
  interval_us bigint,
  burst integer NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  PRIMARY KEY (namespace, name)
);

CREATE TABLE limit_bucket (
  spent_until bigint NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  PRIMARY KEY (namespace, name)
);

-- The gates that a task has to pass, and the one at which it waits; empty: it is not due, and in no line yet.
ALTER TABLE task
  ADD COLUMN limit_key text COLLATE "C",
  ADD COLUMN limit_work text COLLATE "C",
  ADD COLUMN limit_queue text COLLATE "C",
  ADD COLUMN gate text COLLATE "C";

CREATE INDEX task_gate ON task (namespace, gate, rank, due_at, id) WHERE state = 0 AND hold = 'limit' AND gate <> '';
CREATE INDEX task_gate_later ON task (namespace, due_at) WHERE state = 0 AND hold = 'limit' AND gate = '';
CREATE INDEX task_gate_deadline ON task (namespace, start_deadline)
  WHERE state = 0 AND hold = 'limit' AND start_deadline IS NOT NULL;

-- Who has a slot: passed the gate, and is not over.
CREATE INDEX task_key_slot ON task (namespace, limit_key)
  WHERE limit_key IS NOT NULL AND state IN (0, 1) AND (gate IS NULL OR gate = limit_work OR gate = limit_queue);
CREATE INDEX task_work_slot ON task (namespace, limit_work)
  WHERE limit_work IS NOT NULL AND state IN (0, 1) AND (gate IS NULL OR gate = limit_queue);
CREATE INDEX task_queue_slot ON task (namespace, limit_queue)
  WHERE limit_queue IS NOT NULL AND state IN (0, 1) AND gate IS NULL;

-- Whatever makes a task wait, or moves it, has it pass its gates anew; nothing but passing the last one lets it go.
CREATE FUNCTION stop_at_first_gate() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE task t SET gate = '', hold = coalesce(t.hold, 'limit')
   WHERE t.namespace = NEW.namespace AND t.id = NEW.id;
  RETURN NULL;
END $$;

CREATE TRIGGER task_gated AFTER UPDATE OF state, hold, due_at ON task FOR EACH ROW
WHEN (NEW.state = 0 AND coalesce(NEW.limit_key, NEW.limit_work, NEW.limit_queue) IS NOT NULL AND (
  NEW.hold IS NULL AND (NEW.gate IS NOT NULL OR OLD.state <> 0) OR NEW.hold IS NOT NULL AND NEW.gate IS NULL
  OR (NEW.due_at > OLD.due_at AND NEW.gate IS NOT DISTINCT FROM OLD.gate OR NEW.hold <> 'limit')
     AND NEW.gate IS DISTINCT FROM ''))
EXECUTE FUNCTION stop_at_first_gate();

-- The gate of a queue; where a task names a place to run at, its queue ends with that (see `kokugen.task.AT`).
CREATE FUNCTION queue_gate(queue text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT 'queue:' || split_part(queue, '@', 1) $$;

-- Has new tasks of a schedule stop at their gates; they are arrays, as `change_schedule` has them.
CREATE FUNCTION stop_at_gates(ns text, tasks jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
  rules text[] := ARRAY(SELECT r.name FROM limit_rule r WHERE r.namespace = ns);
  ids text[] := ARRAY(
    SELECT j->>0 FROM jsonb_array_elements(tasks) AS j
     WHERE j->>16 IS NOT NULL OR 'work:' || (j->>1) = ANY (rules) OR queue_gate(j->>5) = ANY (rules));
  keys jsonb := (SELECT jsonb_object_agg(j->>0, j->>16) FROM jsonb_array_elements(tasks) AS j);
BEGIN
  IF cardinality(ids) = 0 THEN
    RETURN;
  END IF;
  UPDATE task t
     SET limit_key = 'key:' || (keys->>t.id),
         limit_work = CASE WHEN 'work:' || t.work_id = ANY (rules) THEN 'work:' || t.work_id END,
         limit_queue = CASE WHEN queue_gate(t.queue) = ANY (rules) THEN queue_gate(t.queue) END,
         gate = '', hold = coalesce(t.hold, 'limit')
   WHERE t.namespace = ns AND t.id = ANY (ids) AND t.state = 0;
END $$;

-- Whether any task waits in line at a gate: one probe of an index, also on a connection of a user's.
CREATE FUNCTION is_anyone_in_line(ns text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
  RETURN EXISTS (SELECT FROM task t WHERE t.namespace = ns AND t.state = 0 AND t.hold = 'limit' AND t.gate <> '');
END $$;

-- Whether any task that waits for others of these chains, or for its turn in these schedules, has gates to pass then.
CREATE FUNCTION has_gates_behind(ns text, chains text[], schedules text[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM task t WHERE t.namespace = ns AND t.chain = ANY (chains) AND t.chain IS NOT NULL AND t.state = 0
       AND t.hold = 'chain' AND coalesce(t.limit_key, t.limit_work, t.limit_queue) IS NOT NULL)
  OR EXISTS (
    SELECT FROM task t WHERE t.namespace = ns AND t.schedule_id = ANY (schedules) AND t.overlap IS NOT NULL
       AND t.state = 0 AND t.hold = 'overlap' AND coalesce(t.limit_key, t.limit_work, t.limit_queue) IS NOT NULL);
END $$;

-- How many have a slot of a gate, and how many of them were not claimed yet.
CREATE FUNCTION gate_slots(ns text, of text, OUT taken bigint, OUT idle bigint)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  CASE split_part(of, ':', 1)
  WHEN 'key' THEN
    SELECT count(*), count(*) FILTER (WHERE t.state = 0) INTO taken, idle FROM task t
     WHERE t.namespace = ns AND t.limit_key = of AND t.limit_key IS NOT NULL AND t.state IN (0, 1)
       AND (t.gate IS NULL OR t.gate = t.limit_work OR t.gate = t.limit_queue);
  WHEN 'work' THEN
    SELECT count(*), count(*) FILTER (WHERE t.state = 0) INTO taken, idle FROM task t
     WHERE t.namespace = ns AND t.limit_work = of AND t.limit_work IS NOT NULL AND t.state IN (0, 1)
       AND (t.gate IS NULL OR t.gate = t.limit_queue);
  ELSE
    SELECT count(*), count(*) FILTER (WHERE t.state = 0) INTO taken, idle FROM task t
     WHERE t.namespace = ns AND t.limit_queue = of AND t.limit_queue IS NOT NULL AND t.state IN (0, 1)
       AND t.gate IS NULL;
  END CASE;
END $$;

-- Lets tasks through gates of one kind that have no rates, all in one go; answers [admitted, the gates behind]. It is
-- `kokugen.repository.admission.decide`, and only `admit` calls it: under its lock.
CREATE FUNCTION pass_gates(ns text, kind text, gates text[], now_us bigint, most bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  of_keys bigint;
  most_of_key jsonb; -- by work
  passing text[];
  admitted integer;
  behind text[];
BEGIN
  IF kind = 'key:' THEN
    SELECT coalesce(max(coalesce(r.at_once, most)), 1), coalesce(jsonb_object_agg(substr(r.name, 6), r.at_once), '{}')
      INTO of_keys, most_of_key FROM limit_rule r
     WHERE r.namespace = ns AND r.name >= 'keys:' AND r.name < 'keys;';
  END IF;
  WITH gate AS MATERIALIZED (
    SELECT g AS name,
           CASE kind
           WHEN 'key:' THEN (
             SELECT count(*) FROM task t WHERE t.namespace = ns AND t.limit_key = g AND t.limit_key IS NOT NULL
                AND t.state IN (0, 1) AND (t.gate IS NULL OR t.gate = t.limit_work OR t.gate = t.limit_queue))
           WHEN 'work:' THEN (
             SELECT count(*) FROM task t WHERE t.namespace = ns AND t.limit_work = g AND t.limit_work IS NOT NULL
                AND t.state IN (0, 1) AND (t.gate IS NULL OR t.gate = t.limit_queue))
           ELSE (
             SELECT count(*) FROM task t WHERE t.namespace = ns AND t.limit_queue = g AND t.limit_queue IS NOT NULL
                AND t.state IN (0, 1) AND t.gate IS NULL)
           END AS taken,
           CASE kind WHEN 'key:' THEN of_keys
           ELSE (SELECT r.at_once FROM limit_rule r WHERE r.namespace = ns AND r.name = g) END AS at_once
      FROM unnest(gates) AS g
  ), line AS MATERIALIZED (
    SELECT g.name, l.id, l.work_id, g.at_once,
           g.taken + row_number() OVER (PARTITION BY g.name ORDER BY l.rank, l.due_at, l.id) AS slot
      FROM gate g
     CROSS JOIN LATERAL (
       SELECT t.id, t.work_id, t.rank, t.due_at FROM task t
        WHERE t.namespace = ns AND t.gate = g.name AND t.state = 0 AND t.hold = 'limit' AND t.gate <> ''
        ORDER BY t.rank, t.due_at, t.id LIMIT greatest(least(g.at_once - g.taken, most), 0)
          FOR UPDATE SKIP LOCKED) AS l
  ), judged AS (
    SELECT l.id, bool_and(coalesce(l.slot <= CASE
             WHEN kind <> 'key:' THEN l.at_once
             WHEN most_of_key ? l.work_id THEN (most_of_key->>l.work_id)::bigint
             ELSE 1 END, true)) OVER (PARTITION BY l.name ORDER BY l.slot) AS passes
      FROM line l
  )
  SELECT array_agg(j.id) INTO passing FROM judged j WHERE j.passes; -- nobody overtakes at a gate
  IF passing IS NULL THEN
    RETURN '[0, []]';
  END IF;
  WITH moved AS (
    UPDATE task t
       SET gate = CASE kind WHEN 'key:' THEN coalesce(t.limit_work, t.limit_queue) WHEN 'work:' THEN t.limit_queue END,
           hold = CASE WHEN kind = 'key:' AND t.limit_work IS NOT NULL
                         OR kind <> 'queue:' AND t.limit_queue IS NOT NULL THEN 'limit' END,
           modified_at = now_us, rev = t.rev + 1
     WHERE t.namespace = ns AND t.id = ANY (passing)
    RETURNING t.gate
  )
  SELECT count(*) FILTER (WHERE m.gate IS NULL), array_agg(DISTINCT m.gate) FILTER (WHERE m.gate IS NOT NULL)
    INTO admitted, behind FROM moved m;
  RETURN jsonb_build_array(admitted, to_jsonb(coalesce(behind, '{}')));
END $$;

-- Does the same, for tasks that are due by then and one gate that may have a rate; answers [admitted, the gates behind,
-- when the next token comes].
CREATE FUNCTION pass_gate(ns text, of text, now_us bigint, until_us bigint, most bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  kind text := split_part(of, ':', 1);
  taken bigint;
  idle bigint;
  room bigint;
  spent bigint;
  after bigint;
  start bigint;
  token bigint;
  admitted integer := 0;
  behind text[] := '{}';
  next text COLLATE "C";
  rule limit_rule%ROWTYPE;
  one record;
BEGIN
  SELECT s.taken, s.idle INTO taken, idle FROM gate_slots(ns, of) s;
  IF kind = 'key' THEN
    SELECT coalesce(max(coalesce(r.at_once, most)), 1) INTO room FROM limit_rule r
     WHERE r.namespace = ns AND r.name >= 'keys:' AND r.name < 'keys;';
  ELSE
    SELECT * INTO rule FROM limit_rule r WHERE r.namespace = ns AND r.name = of;
    room := coalesce(rule.at_once, taken + most);
  END IF;
  room := least(room - taken, most);
  IF room <= 0 THEN
    RETURN '[0, []]';
  END IF;
  SELECT b.spent_until INTO spent FROM limit_bucket b WHERE b.namespace = ns AND b.name = of;
  FOR one IN
    SELECT t.id, t.work_id, t.limit_work, t.limit_queue, t.due_at FROM task t
     WHERE t.namespace = ns AND t.gate = of AND t.state = 0 AND t.hold = 'limit' AND t.gate <> ''
     ORDER BY t.rank, t.due_at, t.id LIMIT room FOR UPDATE SKIP LOCKED
  LOOP
    IF kind = 'key' THEN
      SELECT * INTO rule FROM limit_rule r WHERE r.namespace = ns AND r.name = 'keys:' || one.work_id;
      IF rule.name IS NULL THEN
        rule.at_once := 1;
      END IF;
    END IF;
    EXIT WHEN taken >= rule.at_once;
    IF rule.interval_us IS NOT NULL THEN
      after := greatest(coalesce(spent, 0), now_us, one.due_at) + rule.interval_us;
      start := greatest(now_us, after - rule.burst * rule.interval_us);
      IF idle >= rule.burst + (until_us - now_us) / rule.interval_us THEN
        token := now_us + rule.interval_us;
        EXIT;
      ELSIF start > until_us THEN
        token := start;
        EXIT;
      END IF;
      spent := after;
    END IF;
    next := CASE kind WHEN 'key' THEN coalesce(one.limit_work, one.limit_queue) WHEN 'work' THEN one.limit_queue END;
    UPDATE task t SET gate = next, hold = CASE WHEN next IS NOT NULL THEN 'limit' END, modified_at = now_us,
           rev = t.rev + 1, due_at = CASE WHEN start > now_us THEN greatest(t.due_at, start) ELSE t.due_at END
     WHERE t.namespace = ns AND t.id = one.id;
    taken := taken + 1;
    idle := idle + 1;
    IF next IS NULL THEN
      admitted := admitted + 1;
    ELSIF next <> ALL (behind) THEN
      behind := behind || next;
    END IF;
  END LOOP;
  IF spent IS NOT NULL THEN
    INSERT INTO limit_bucket AS b (namespace, name, spent_until) VALUES (ns, of, spent)
    ON CONFLICT (namespace, name) DO UPDATE SET spent_until = excluded.spent_until
     WHERE b.spent_until <> excluded.spent_until;
  END IF;
  RETURN jsonb_build_array(admitted, to_jsonb(behind), token);
END $$;

-- Has tasks that are due by then stand in line, and lets tasks through those gates, the named ones, and those behind;
-- answers [admitted, when there is a token]. One transaction at a time does so in a namespace: what it counts can only
-- become less until it commits.
CREATE FUNCTION admit(ns text, gates text[], now_us bigint, until_us bigint, most bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  waiting text[];
  here text[];
  rated text[];
  lined_up bigint;
  admitted integer := 0;
  token bigint;
  passed jsonb;
  kind text;
  of text;
BEGIN
  WITH due AS MATERIALIZED (
    SELECT t.ctid FROM task t
     WHERE t.namespace = ns AND t.state = 0 AND t.hold = 'limit' AND t.gate = '' AND t.due_at <= until_us
     ORDER BY t.due_at LIMIT most FOR UPDATE SKIP LOCKED
  ), ripe AS (
    UPDATE task t SET gate = coalesce(t.limit_key, t.limit_work, t.limit_queue)
     WHERE t.ctid = ANY (ARRAY(SELECT ctid FROM due))
    RETURNING t.gate
  )
  SELECT (SELECT count(*) FROM ripe), ARRAY(
    SELECT r.gate FROM ripe r
     UNION
    SELECT g FROM unnest(gates) AS g WHERE EXISTS (
      SELECT FROM task t WHERE t.namespace = ns AND t.gate = g AND t.state = 0 AND t.hold = 'limit' AND t.gate <> ''
      OFFSET 0)) INTO lined_up, waiting;
  IF cardinality(waiting) = 0 THEN
    RETURN '[0, null]';
  END IF;
  -- Whoever passed and was not claimed when the server fell over waits at its gate again, and nothing else is lost; a
  -- claim that follows has it written with its own commit.
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(hashtextextended('kokugen limits ' || current_schema() || ' ' || ns, 0));
  FOREACH kind IN ARRAY ARRAY['key:', 'work:', 'queue:'] LOOP
    here := ARRAY(SELECT g FROM unnest(waiting) AS g WHERE starts_with(g, kind));
    rated := ARRAY(
      SELECT g FROM unnest(here) AS g WHERE EXISTS (
        SELECT FROM limit_rule r WHERE r.namespace = ns AND r.interval_us IS NOT NULL
           AND CASE kind WHEN 'key:' THEN starts_with(r.name, 'keys:') ELSE r.name = g END));
    FOREACH of IN ARRAY ARRAY(SELECT NULL::text WHERE here <> rated UNION ALL SELECT unnest(rated)) LOOP
      passed := CASE WHEN of IS NULL
        THEN pass_gates(ns, kind, ARRAY(SELECT g FROM unnest(here) AS g WHERE g <> ALL (rated)), now_us, most)
        ELSE pass_gate(ns, of, now_us, until_us, most) END;
      admitted := admitted + (passed->>0)::integer;
      token := least(token, (passed->>2)::bigint);
      waiting := waiting || ARRAY(
        SELECT b FROM jsonb_array_elements_text(passed->1) AS b WHERE b <> ALL (waiting));
    END LOOP;
  END LOOP;
  IF lined_up >= most THEN -- there may be more
    token := now_us;
  END IF;
  RETURN jsonb_build_array(admitted, token);
END $$;

-- An occurrence that waits at a gate is the active one of its schedule, as one that any claim may take.
DROP INDEX task_active;
CREATE UNIQUE INDEX task_active ON task (namespace, schedule_id)
  WHERE overlap IS NOT NULL AND (state = 1 OR state = 0 AND (hold IS NULL OR hold = 'limit'));

DROP TRIGGER task_overlap_ended ON task;
CREATE TRIGGER task_overlap_ended AFTER UPDATE OF state ON task FOR EACH ROW
WHEN (NEW.overlap IS NOT NULL AND NEW.state >= 2 AND OLD.state < 2 AND (OLD.hold IS NULL OR OLD.hold = 'limit'))
EXECUTE FUNCTION occurrence_ended();

-- Lets the earliest occurrence on hold go where nothing of its schedule is active; answers how many went.
CREATE OR REPLACE FUNCTION release_occurrence(ns text, of text, at bigint) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  next text COLLATE "C";
BEGIN
  PERFORM FROM task t WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL
     AND (t.state = 1 OR t.state = 0 AND (t.hold IS NULL OR t.hold = 'limit'));
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

-- Deals with the occurrences on hold of one schedule; answers how many tasks changed.
CREATE OR REPLACE FUNCTION settle_overlap(ns text, of text, now_us bigint) RETURNS integer
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
  UPDATE task t SET state = 3, reason = 'overlap', hold = NULL, finished_at = now_us, modified_at = now_us,
         rev = t.rev + 1
   WHERE t.namespace = ns AND t.schedule_id = of AND t.overlap IS NOT NULL AND t.state = 0
     AND (t.hold IS NULL OR t.hold = 'limit');
  GET DIAGNOSTICS more = ROW_COUNT;
  RETURN changed + more;
END $$;

-- Swaps one schedule's row where its revision is the one expected, with tasks, ledger and audit; answers [applied,
-- dropped]. The change is `kokugen.repository.schedule_rows.ScheduleChange` as an array. It is planned anew each time: a
-- plan that was made when a table was empty reads all that came into it since.
CREATE OR REPLACE FUNCTION change_schedule(ns text, change jsonb, now_us bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
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
  IF jsonb_array_length(change->4) > 0 THEN
    INSERT INTO task (
      namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
      start_deadline, unique_key, tags, options, zone, local_time, schedule_id, nominal, overlap, reports, hold,
      created_at, modified_at)
    SELECT ns, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint, (j->>7)::smallint,
           (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer, (j->>10)::bigint, j->>11, j->>12, j->>13, j->>14,
           j->>15, j->>18, (j->>19)::bigint, j->>20, (j->>21)::boolean,
           CASE WHEN j->>20 IS NOT NULL THEN 'overlap' END, now_us, now_us
      FROM jsonb_array_elements(change->4) AS j
    ON CONFLICT DO NOTHING;
    PERFORM stop_at_gates(ns, change->4);
  END IF;
  IF jsonb_array_length(change->4) > 0 OR since IS NOT NULL THEN
    PERFORM release_occurrence(ns, of, now_us);
  END IF;
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

-- Takes the decisions of a node about many schedules at once; answers the ids of those that were as they were decided
-- upon. The changes are `kokugen.repository.schedule_rows.ScheduleChange` as arrays, in order of the schedules' ids, and
-- do nothing but write a row, add tasks and write the ledger. Where one of them meets what another transaction does at
-- the same time, none is taken, and `change_schedule` has to look at each. It is planned anew each time: a plan that was
-- made when a table was empty reads all that came into it since.
CREATE FUNCTION decide_schedules(ns text, changes jsonb, now_us bigint) RETURNS text[]
LANGUAGE plpgsql SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
DECLARE
  places tid[];
  taken jsonb[];
  behind text[];
  of text;
BEGIN
  SELECT array_agg(x.place ORDER BY c.nr), array_agg(c.j ORDER BY c.nr) INTO places, taken
    FROM jsonb_array_elements(changes) WITH ORDINALITY AS c (j, nr)
   CROSS JOIN LATERAL (
     SELECT s.ctid AS place FROM schedule s
      WHERE s.namespace = ns AND s.id = c.j->0->>0 AND s.rev = (c.j->>1)::bigint LIMIT 1 FOR UPDATE) AS x;
  IF places IS NULL THEN
    RETURN '{}';
  END IF;

  UPDATE schedule x
     SET name = s->>1, owner = s->>2, spec = s->>3, policy = s->>4, template = s->>5, overlap = s->>6,
         gen = (s->>7)::integer, rev = (s->>8)::bigint, edition = (s->>9)::integer, decided = (s->>10)::bigint,
         next_at = (s->>11)::bigint, wake_at = (s->>12)::bigint, spaced = (s->>13)::bigint,
         paused_at = (s->>14)::bigint, paused_until = (s->>15)::bigint, paused_note = s->>16, paused_by = s->>17,
         runs = (s->>18)::bigint, skipped = (s->>19)::bigint, coalesced = (s->>20)::bigint,
         created_at = (s->>21)::bigint, modified_at = (s->>22)::bigint, failures = (s->>24)::integer,
         failures_max = (s->>25)::integer, declared = (s->>26)::bigint
    FROM (SELECT c.place, c.j->0 AS s FROM unnest(places, taken) AS c (place, j)) AS c
   WHERE x.ctid = c.place;

  -- The first of a schedule that has none that waits or runs is free to go.
  WITH added AS (
    INSERT INTO task (
      namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
      start_deadline, unique_key, tags, options, zone, local_time, schedule_id, nominal, overlap, reports, hold,
      created_at, modified_at)
    SELECT ns, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint, (j->>7)::smallint,
           (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer, (j->>10)::bigint, j->>11, j->>12, j->>13, j->>14,
           j->>15, j->>18, (j->>19)::bigint, j->>20, (j->>21)::boolean,
           CASE WHEN j->>20 IS NULL OR (nth = 1 AND (
                  SELECT 1 FROM task t WHERE t.namespace = ns AND t.schedule_id = j->>18 AND t.overlap IS NOT NULL
                     AND (t.state = 1 OR t.state = 0 AND (t.hold IS NULL OR t.hold = 'limit')) LIMIT 1) IS NULL AND (
                  SELECT 1 FROM task t WHERE t.namespace = ns AND t.schedule_id = j->>18 AND t.overlap IS NOT NULL
                     AND t.state = 0 AND t.hold = 'overlap' LIMIT 1) IS NULL)
                THEN NULL ELSE 'overlap' END, now_us, now_us
      FROM (
        SELECT o.j, row_number() OVER (PARTITION BY c.nr ORDER BY (o.j->>2)::bigint, (o.j->>0) COLLATE "C") AS nth
          FROM unnest(taken) WITH ORDINALITY AS c (j, nr) CROSS JOIN LATERAL jsonb_array_elements(c.j->4) AS o (j)) AS o
    ON CONFLICT (namespace, id) DO NOTHING
    RETURNING schedule_id, hold
  )
  SELECT array_agg(DISTINCT a.schedule_id) INTO behind FROM added a WHERE a.hold IS NOT NULL;
  PERFORM stop_at_gates(ns, jsonb_agg(o.j))
     FROM unnest(taken) AS c (j) CROSS JOIN LATERAL jsonb_array_elements(c.j->4) AS o (j);
  FOREACH of IN ARRAY coalesce(behind, '{}') LOOP
    PERFORM release_occurrence(ns, of, now_us);
  END LOOP;

  -- What is said of times may go on where the latest row of the ledger ends.
  WITH head AS MATERIALIZED (
    SELECT l.place, h.j FROM (SELECT c.j->5->0 AS j FROM unnest(taken) AS c (j)) AS h
     CROSS JOIN LATERAL (
       SELECT l.ctid AS place, l.gen, l.reason, l.stand_in, l.detail, l.last FROM ledger l
        WHERE l.namespace = ns AND l.schedule_id = h.j->>0 ORDER BY l.last DESC, l.seq DESC LIMIT 1) AS l
     WHERE l.gen = (h.j->>1)::integer AND l.reason = h.j->>5 AND l.stand_in IS NOT DISTINCT FROM (h.j->>6)::bigint
       AND l.detail IS NOT DISTINCT FROM h.j->>7 AND l.last < (h.j->>2)::bigint AND l.reason <> 'triggered'
  ), extended AS (
    UPDATE ledger l
       SET last = (h.j->>3)::bigint, count = l.count + (h.j->>4)::bigint, at = (h.j->>8)::bigint
      FROM head h WHERE l.ctid = h.place
    RETURNING l.schedule_id
  )
  INSERT INTO ledger (namespace, schedule_id, gen, first, last, count, reason, stand_in, detail, at)
  SELECT ns, e.j->>0, (e.j->>1)::integer, (e.j->>2)::bigint, (e.j->>3)::bigint, (e.j->>4)::bigint, e.j->>5,
         (e.j->>6)::bigint, e.j->>7, (e.j->>8)::bigint
    FROM unnest(taken) WITH ORDINALITY AS c (j, nr)
   CROSS JOIN LATERAL jsonb_array_elements(c.j->5) WITH ORDINALITY AS e (j, nth)
   WHERE e.nth > 1 OR e.j->>0 NOT IN (SELECT x.schedule_id FROM extended x)
   ORDER BY c.nr, e.nth;
  RETURN ARRAY(SELECT c.j->0->>0 FROM unnest(taken) AS c (j));
EXCEPTION WHEN unique_violation THEN
  RETURN '{}';
END $$;
