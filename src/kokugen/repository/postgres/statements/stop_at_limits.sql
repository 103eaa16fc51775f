-- Has what waits, or runs, of works and queues that have rules now stop at their gates, and counts it there.
WITH rule AS MATERIALIZED (
  SELECT j->>0 AS name FROM jsonb_array_elements(:rows::jsonb) AS j
), ruled AS MATERIALIZED (
  SELECT t.ctid, t.state, t.hold, t.limit_key, t.gate, w.name AS work, q.name AS queue
    FROM kokugen.task t
    LEFT JOIN rule w ON w.name = 'work:' || t.work_id
    LEFT JOIN rule q ON q.name = kokugen.queue_gate(t.queue)
   WHERE t.namespace = :ns::text AND t.state IN (0, 1)
     AND (w.name IS NOT NULL AND t.limit_work IS NULL OR q.name IS NOT NULL AND t.limit_queue IS NULL)
   ORDER BY t.id FOR UPDATE OF t
), stopped AS (
  UPDATE kokugen.task t
     SET limit_work = coalesce(r.work, t.limit_work), limit_queue = coalesce(r.queue, t.limit_queue),
         gate = CASE WHEN t.state = 0 THEN '' END,
         hold = CASE WHEN t.state = 0 THEN coalesce(t.hold, 'limit') END
    FROM ruled r
   WHERE t.ctid = r.ctid
  RETURNING 1
)
SELECT count(*) FROM stopped
