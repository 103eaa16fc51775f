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
