-- T2, and T8 for what it is too late to start. Every step is an index range of its own: what is not due, or not
-- served, is never read. A place is one queue, care and level; `head` is the first task that waits there. The first
-- ones of all places are merged by their turn: when they are due, and by so much earlier the higher their level is.
--
-- A row that changed under this statement's snapshot is locked in its new version, which `ctid` cannot reach: it is
-- left for the next claim. Of a place, as many rows as could be taken at most are locked; those that are not taken
-- are free again at the end.
WITH clock AS MATERIALIZED (
  SELECT now, now + :ahead::bigint AS until
    FROM (SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now) c
), late AS MATERIALIZED (
  SELECT t.ctid FROM kokugen.task t
   WHERE t.namespace = :ns::text AND t.state = 0 AND t.hold IS NULL AND t.start_deadline IS NOT NULL
     AND t.start_deadline <= (SELECT now FROM clock)
   ORDER BY t.start_deadline LIMIT 100 FOR UPDATE SKIP LOCKED
), expired AS (
  UPDATE kokugen.task
     SET state = 3, reason = 'expired', rev = rev + 1,
         finished_at = (SELECT now FROM clock), modified_at = (SELECT now FROM clock)
   WHERE ctid = ANY (ARRAY(SELECT ctid FROM late))
), place AS MATERIALIZED (
  SELECT q.queue, c.care, r.rank
    FROM unnest(:queues::text[]) AS q (queue)
   CROSS JOIN LATERAL (
     SELECT 0 AS care
      UNION ALL
     SELECT careful.care
       FROM (SELECT FROM kokugen.task t
              WHERE t.namespace = :ns AND t.queue = q.queue AND t.care > 0 AND t.state = 0 AND t.hold IS NULL
              ORDER BY t.care, t.rank, t.due_at, t.id LIMIT 1) AS any_careful
      CROSS JOIN (VALUES (1), (2)) AS careful (care)) AS c
   CROSS JOIN (VALUES (-3), (-2), (-1), (0)) AS r (rank)
), head AS MATERIALIZED (
  SELECT p.queue, p.care, p.rank, f.due_at,
         CASE p.care WHEN 0 THEN :slots::bigint + :buffer::bigint WHEN 1 THEN :slots ELSE :lost_max::bigint END AS most
    FROM place p
   CROSS JOIN LATERAL (
     SELECT t.due_at FROM kokugen.task t
      WHERE t.namespace = :ns AND t.queue = p.queue AND t.care = p.care AND t.rank = p.rank
        AND t.state = 0 AND t.hold IS NULL
        AND (t.start_deadline IS NULL OR t.start_deadline > (SELECT now FROM clock))
      ORDER BY t.due_at, t.id LIMIT 1) AS f
), found AS MATERIALIZED (
  SELECT f.ctid, f.care, f.due_at + f.rank * :ageing::bigint AS turn, f.rank, f.id
    FROM head h
   CROSS JOIN LATERAL (
     SELECT t.ctid, t.care, t.rank, t.due_at, t.id FROM kokugen.task t
      WHERE t.namespace = :ns AND t.queue = h.queue AND t.care = h.care AND t.rank = h.rank
        AND t.state = 0 AND t.hold IS NULL AND t.due_at <= (SELECT until FROM clock)
        AND (t.start_deadline IS NULL OR t.start_deadline > (SELECT now FROM clock))
        AND (:only::text[] IS NULL OR t.work_id = ANY (:only)) AND t.work_id <> ALL (:skip::text[])
      ORDER BY t.due_at, t.id LIMIT h.most FOR UPDATE SKIP LOCKED) AS f
   WHERE h.due_at <= (SELECT until FROM clock)
), ranked AS (
  SELECT ctid, care, row_number() OVER (ORDER BY turn, rank, id) AS nr
    FROM (SELECT *, row_number() OVER (PARTITION BY care ORDER BY turn, rank, id) AS nth FROM found) AS f
   WHERE care < 2 OR nth <= :lost_max
), taken AS (
  UPDATE kokugen.task
     SET state = 1, owner = :node::text, claim = :nonce::text, beat = 0, ttl_s = :ttl::float8, fence = fence + 1,
         attempt = attempt + 1, rev = rev + 1, started_at = NULL,
         mode = CASE WHEN work_id = ANY (:strict::text[]) THEN 1 ELSE mode END,
         care = CASE WHEN care = 0 AND work_id = ANY (:strict) THEN 1 ELSE care END,
         claimed_at = (SELECT now FROM clock), modified_at = (SELECT now FROM clock)
   WHERE ctid = ANY (ARRAY(
     SELECT ctid
       FROM (SELECT ctid, care, nr, count(*) FILTER (WHERE care = 0 AND nr > :slots) OVER (ORDER BY nr) AS behind
               FROM ranked) AS r
      WHERE nr <= :slots OR (care = 0 AND behind <= :buffer)))
  RETURNING rank, id, work_id, param, queue, mode, scheduled_time, due_at, attempt, max_attempts, lost, max_lost,
            fence, tags, options, start_deadline, chain, follows, follows_arg, given
)
SELECT (SELECT now FROM clock) AS now,
       (SELECT min(CASE WHEN h.due_at > (SELECT until FROM clock) THEN h.due_at ELSE (
          SELECT t.due_at FROM kokugen.task t
           WHERE t.namespace = :ns AND t.queue = h.queue AND t.care = h.care AND t.rank = h.rank
             AND t.state = 0 AND t.hold IS NULL AND t.due_at > (SELECT until FROM clock)
             AND (t.start_deadline IS NULL OR t.start_deadline > (SELECT now FROM clock))
           ORDER BY t.due_at, t.id LIMIT 1) END)
          FROM head h) AS next_due,
       EXISTS (SELECT FROM found f GROUP BY f.care
               HAVING count(*) >= CASE f.care WHEN 0 THEN :slots + :buffer WHEN 1 THEN :slots ELSE :lost_max END) AS more,
       (SELECT json_agg(json_build_array(id, work_id, param, queue, mode, scheduled_time, due_at, attempt,
                 max_attempts, lost, max_lost, fence, tags, options, start_deadline, CASE WHEN chain IS NOT NULL
                 THEN json_build_array(chain, follows, follows_arg, given) END)
                 ORDER BY due_at + rank * :ageing::bigint, rank, id)::text
          FROM taken) AS tasks
