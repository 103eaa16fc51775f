-- The seed's marks and swaps: changes a state by id if it is one of `old`; answers with the state as it was.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), old AS MATERIALIZED (
  SELECT t.state, t.gate, t.owner, t.fence, t.attempt, t.claimed_at, t.started_at, t.state = ANY (:old::smallint[]) AND NOT (:new::smallint = 1 AND t.gate IS NOT NULL) AS fits,
         CASE WHEN :new::smallint = 0 AND t.cancel_requested THEN 3 ELSE :new END AS after
    FROM kokugen.task t
   WHERE t.namespace = :ns::text AND t.id = :id::text FOR UPDATE
), changed AS (
  UPDATE kokugen.task t
     SET state = o.after,
         owner = CASE o.after WHEN 1 THEN :by_id::text END, claim = CASE o.after WHEN 1 THEN :nonce::text END,
         ttl_s = NULL, beat = 0, hold = NULL, rev = t.rev + 1, modified_at = (SELECT now FROM clock),
         fence = t.fence + CASE o.after WHEN 1 THEN 1 ELSE 0 END,
         attempt = t.attempt + CASE o.after WHEN 1 THEN 1 WHEN 0 THEN -1 ELSE 0 END,
         claimed_at = CASE o.after WHEN 1 THEN (SELECT now FROM clock) ELSE t.claimed_at END,
         started_at = CASE WHEN o.after <> 1 THEN t.started_at END,
         reason = CASE WHEN o.after = 1 OR :new = 0 AND o.after = 3 THEN t.reason ELSE :reason::text END,
         finished_at = CASE WHEN o.after >= 2 THEN (SELECT now FROM clock) END
    FROM old o
   WHERE t.namespace = :ns AND t.id = :id AND o.fits
), told AS (
  INSERT INTO kokugen.attempt (namespace, task_id, fence, attempt, outcome, node, claimed_at, started_at, finished_at)
  SELECT :ns, :id, o.fence, o.attempt, CASE o.after WHEN 0 THEN 'released' WHEN 3 THEN 'cancelled' ELSE 'failed' END,
         o.owner, o.claimed_at, o.started_at, (SELECT now FROM clock)
    FROM old o
   WHERE o.fits AND o.state = 1 AND o.after IN (0, 3, 4)
  ON CONFLICT (namespace, task_id, fence) DO NOTHING
)
SELECT state, gate IS NOT NULL AS waits FROM old
