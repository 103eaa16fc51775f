-- Lets those through who may pass now: who has become due, and, where a name is given, who waits at the next gates after
-- it. Answers what `admit` does, the last of those gates, when the next task is due, and what time
-- it is.
WITH clock AS MATERIALIZED (
  SELECT now, now + :ahead::bigint AS until
    FROM (SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now) c
), late AS MATERIALIZED (
  SELECT t.ctid FROM kokugen.task t
   WHERE t.namespace = :ns::text AND t.state = 0 AND t.hold = 'limit' AND t.start_deadline IS NOT NULL
     AND t.start_deadline <= (SELECT now FROM clock)
   ORDER BY t.start_deadline LIMIT 100 FOR UPDATE SKIP LOCKED
), expired AS (
  UPDATE kokugen.task
     SET state = 3, reason = 'expired', rev = rev + 1, hold = NULL,
         finished_at = (SELECT now FROM clock), modified_at = (SELECT now FROM clock)
   WHERE ctid = ANY (ARRAY(SELECT ctid FROM late))
), found AS MATERIALIZED (
  SELECT CASE WHEN :after::text IS NULL THEN '{}' ELSE ARRAY(
    WITH RECURSIVE g AS (
      SELECT (SELECT min(t.gate) FROM kokugen.task t
               WHERE t.namespace = :ns AND t.gate > :after AND t.state = 0 AND t.hold = 'limit' AND t.gate <> '') AS name
       UNION ALL
      SELECT (SELECT min(t.gate) FROM kokugen.task t
               WHERE t.namespace = :ns AND t.gate > g.name AND t.state = 0 AND t.hold = 'limit' AND t.gate <> '')
        FROM g WHERE g.name IS NOT NULL)
    SELECT name FROM (SELECT name FROM g LIMIT :gates_max::bigint) AS g WHERE name IS NOT NULL)
  END AS gates
)
SELECT kokugen.admit(:ns, gates, (SELECT now FROM clock), (SELECT until FROM clock), :most::bigint)::text AS admission,
       gates,
       (SELECT min(t.due_at) FROM kokugen.task t
         WHERE t.namespace = :ns AND t.state = 0 AND t.hold = 'limit' AND t.gate = ''
           AND t.due_at > (SELECT until FROM clock)) AS next_due,
       (SELECT now FROM clock) AS now
  FROM found
