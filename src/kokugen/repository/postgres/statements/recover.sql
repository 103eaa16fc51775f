-- T6, T7, T9. Takes runs from their owners where claim and beat are as observed; locked rows are left to be seen again.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), lost AS MATERIALIZED (
  SELECT t.*,
         CASE WHEN t.cancel_requested THEN 3 WHEN t.mode = 1 OR t.lost + 1 >= t.max_lost THEN 4 ELSE 0 END AS after
    FROM (SELECT j->>0 AS id, j->>1 AS claim, (j->>2)::integer AS beat
            FROM jsonb_array_elements(:rows::jsonb) AS j ORDER BY 1) AS seen
   CROSS JOIN LATERAL (
     SELECT t.ctid AS place, t.id, t.fence, t.attempt, t.owner, t.claimed_at, t.started_at, t.cancel_requested,
            t.mode, t.lost, t.max_lost
       FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.id = seen.id AND t.claim = seen.claim AND t.beat = seen.beat
      LIMIT 1 FOR UPDATE SKIP LOCKED) AS t
), recovered AS (
  UPDATE kokugen.task t
     SET state = l.after, lost = t.lost + 1, care = 2, attempt = t.attempt - CASE l.after WHEN 0 THEN 1 ELSE 0 END,
         claim = NULL, owner = NULL, ttl_s = NULL, beat = 0, rev = t.rev + 1, modified_at = (SELECT now FROM clock),
         reason = CASE WHEN t.cancel_requested THEN t.reason ELSE 'lost' END,
         finished_at = CASE WHEN l.after >= 2 THEN (SELECT now FROM clock) END
    FROM lost l
   WHERE t.ctid = l.place
  RETURNING t.id, t.state
), told AS (
  INSERT INTO kokugen.attempt (namespace, task_id, fence, attempt, outcome, node, claimed_at, started_at, finished_at)
  SELECT :ns, l.id, l.fence, l.attempt, 'lost', l.owner, l.claimed_at, l.started_at, (SELECT now FROM clock) FROM lost l
  ON CONFLICT (namespace, task_id, fence) DO NOTHING
)
SELECT coalesce(json_agg(json_build_array(id, state)), '[]')::text FROM recovered
