-- Deals with occurrences on hold that are due by then, of the first schedules that have any.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), overdue AS MATERIALIZED (
  SELECT DISTINCT o.schedule_id
    FROM (SELECT t.schedule_id FROM kokugen.task t
           WHERE t.namespace = :ns::text AND t.overlap IS NOT NULL AND t.state = 0 AND t.hold = 'overlap'
             AND t.due_at <= :until::bigint
           ORDER BY t.due_at LIMIT :most::bigint) AS o
)
SELECT coalesce(sum(kokugen.settle_overlap(:ns, o.schedule_id, (SELECT now FROM clock))), 0)
  FROM (SELECT schedule_id FROM overdue ORDER BY schedule_id) AS o
