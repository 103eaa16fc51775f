-- T8, T9. Ends what waits, asks what runs (or ends it, with force), and answers with the rows as they were.
--
-- A row that changed under this statement's snapshot is locked in its new version, which `ctid` cannot reach. Then all
-- of it is undone, by a division by zero, and is to be sent again.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), old AS MATERIALIZED (
  SELECT t.*, t.state = 0 OR t.state = 1 AND :force::boolean AS ends
    FROM (SELECT DISTINCT id FROM unnest(:ids::text[]) AS id ORDER BY id) AS asked
   CROSS JOIN LATERAL (
     SELECT t.ctid AS place, t.id, t.state, t.owner, t.claim, t.fence, t.attempt, t.claimed_at, t.started_at
       FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.id = asked.id
      LIMIT 1 FOR UPDATE) AS t
), changed AS (
  UPDATE kokugen.task t
     SET state = CASE WHEN o.ends THEN 3 ELSE t.state END,
         cancel_requested = t.cancel_requested OR NOT o.ends, reason = :reason::text,
         claim = CASE WHEN NOT o.ends THEN t.claim END, owner = CASE WHEN NOT o.ends THEN t.owner END,
         ttl_s = CASE WHEN NOT o.ends THEN t.ttl_s END, beat = CASE WHEN o.ends THEN 0 ELSE t.beat END,
         hold = CASE WHEN NOT o.ends THEN t.hold END,
         finished_at = CASE WHEN o.ends THEN (SELECT now FROM clock) END,
         modified_at = (SELECT now FROM clock), rev = t.rev + 1
    FROM old o
   WHERE t.ctid = o.place AND o.state < 2
  RETURNING t.id
), told AS (
  INSERT INTO kokugen.attempt (namespace, task_id, fence, attempt, outcome, node, claimed_at, started_at, finished_at)
  SELECT :ns, o.id, o.fence, o.attempt, 'cancelled', o.owner, o.claimed_at, o.started_at, (SELECT now FROM clock)
    FROM old o
   WHERE o.state = 1 AND o.ends
  ON CONFLICT (namespace, task_id, fence) DO NOTHING
), noted AS (
  INSERT INTO kokugen.audit (namespace, at, who, what, task_id, detail)
  SELECT :ns, (SELECT now FROM clock), :by::text, 'forced cancel', o.id, :reason
    FROM old o
   WHERE o.state = 1 AND o.ends
)
SELECT coalesce(json_agg(json_build_array(id, state, owner, claim)), '[]')::text AS answers,
       1 / ((SELECT count(*) FROM changed) = count(*) FILTER (WHERE state < 2))::integer AS whole
  FROM old
