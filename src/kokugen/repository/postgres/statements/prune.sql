-- T14. Deletes one batch of what ended before its instant, with its history, and nodes that were not seen for long.
WITH past AS MATERIALIZED (
  SELECT p.ctid, p.id
    FROM (VALUES (2, :done::bigint), (3, :cancelled::bigint), (4, :failed::bigint)) AS over (state, before)
   CROSS JOIN LATERAL (
     SELECT t.ctid, t.id FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.state = over.state AND t.state >= 2 AND t.finished_at < over.before
      ORDER BY t.finished_at LIMIT :most::bigint FOR UPDATE SKIP LOCKED) AS p
   LIMIT :most
), history AS (
  DELETE FROM kokugen.attempt
   WHERE ctid = ANY (ARRAY(
     SELECT old.ctid
       FROM past p
      CROSS JOIN LATERAL (
        SELECT a.ctid FROM kokugen.attempt a WHERE a.namespace = :ns AND a.task_id = p.id OFFSET 0) AS old))
), forgotten AS (
  DELETE FROM kokugen.node n
   WHERE n.seen_at < :failed AND NOT EXISTS (
     SELECT FROM kokugen.task t WHERE t.owner = n.node_id AND t.state = 1 OFFSET 0)
), gone AS (
  DELETE FROM kokugen.task WHERE ctid = ANY (ARRAY(SELECT ctid FROM past)) RETURNING 1
)
SELECT count(*) FROM gone
