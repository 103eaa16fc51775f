-- T3, T4, T5, T9, T10. Writes how runs ended where the claim is still the row's, and answers how many were written, and
-- whether anyone stands in line for a limit, or may do so now.
-- Rows that someone holds locked are skipped, never waited for: the caller looks at them again.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), mine AS MATERIALIZED (
  SELECT run.*, t.ctid AS place, t.fence, t.attempt, t.owner, t.claimed_at,
         coalesce(run.started_at, t.started_at) AS began_at,
         CASE WHEN t.cancel_requested AND run.state = 0 THEN 3 ELSE run.state END AS after,
         run.outcome <> 'done' AND (run.outcome <> 'released' OR run.started_at IS NOT NULL) AS told
    FROM (SELECT j->>0 AS id, j->>1 AS claim, (j->>2)::smallint AS state, j->>3 AS outcome,
                 (j->>4)::bigint AS due_at, (j->>5)::integer AS attempt_back, (j->>6)::bigint AS started_at,
                 j->>7 AS hold, j->>8 AS reason, j->>9 AS error, j->>10 AS result
            FROM jsonb_array_elements(:rows::jsonb) AS j
           LIMIT jsonb_array_length(:rows)) AS run -- all of them: it tells the planner how many they are
   CROSS JOIN LATERAL (
     SELECT t.ctid, t.fence, t.attempt, t.owner, t.claimed_at, t.started_at, t.cancel_requested
       FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.id = run.id AND t.claim = run.claim
      LIMIT 1 FOR UPDATE SKIP LOCKED) AS t
), written AS (
  UPDATE kokugen.task t
     SET state = m.after, final_claim = t.claim, claim = NULL, owner = NULL, ttl_s = NULL, beat = 0, rev = t.rev + 1,
         modified_at = (SELECT now FROM clock), started_at = m.began_at, error = m.error,
         -- Of what a waiting state brings nothing applies where a cancel was requested.
         due_at = CASE WHEN m.after = 0 THEN coalesce(m.due_at, t.due_at) ELSE t.due_at END,
         start_deadline = t.start_deadline + CASE WHEN m.after = 0 THEN coalesce(m.due_at - t.due_at, 0) ELSE 0 END,
         attempt = t.attempt - CASE WHEN m.after = 0 THEN m.attempt_back ELSE 0 END,
         hold = CASE WHEN m.after = 0 THEN m.hold END,
         reason = CASE WHEN m.state < m.after OR m.state = 3 AND m.reason IS NULL AND t.cancel_requested
                       THEN t.reason ELSE m.reason END,
         result = CASE WHEN m.state >= 2 THEN m.result ELSE t.result END,
         finished_at = CASE WHEN m.after >= 2 THEN (SELECT now FROM clock) END
    FROM mine m
   WHERE t.ctid = m.place
  RETURNING t.id, t.chain, CASE WHEN t.overlap IS NOT NULL THEN t.schedule_id END AS schedule
), told AS (
  INSERT INTO kokugen.attempt AS a (
    namespace, task_id, fence, attempt, outcome, node, claimed_at, started_at, finished_at, error)
  SELECT :ns, m.id, m.fence, m.attempt, m.outcome, m.owner, m.claimed_at, m.began_at, (SELECT now FROM clock), m.error
    FROM mine m
   WHERE m.told
  ON CONFLICT (namespace, task_id, fence) DO NOTHING
), forgotten AS (
  DELETE FROM kokugen.attempt
   WHERE ctid = ANY (ARRAY(
     SELECT old.ctid
       FROM mine m
      CROSS JOIN LATERAL (
        SELECT a.ctid FROM kokugen.attempt a
         WHERE a.namespace = :ns AND a.task_id = m.id AND a.fence <= m.fence - :kept::bigint OFFSET 0) AS old
      WHERE m.told))
)
SELECT count(*),
       kokugen.is_anyone_in_line(:ns) OR CASE WHEN count(chain) + count(schedule) > 0 THEN
         kokugen.has_gates_behind(:ns, array_agg(chain), array_agg(schedule)) ELSE false END
  FROM written
