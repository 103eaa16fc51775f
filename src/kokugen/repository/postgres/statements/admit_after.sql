-- Lets those through who wait at gates that these tasks passed, or came to.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), touched AS MATERIALIZED (
  SELECT ARRAY(
    SELECT DISTINCT g.name
      FROM unnest(:ids::text[]) AS asked (id)
     CROSS JOIN LATERAL (
       SELECT t.limit_key, t.limit_work, t.limit_queue FROM kokugen.task t
        WHERE t.namespace = :ns::text AND t.id = asked.id OFFSET 0) AS t
     CROSS JOIN LATERAL (VALUES (t.limit_key), (t.limit_work), (t.limit_queue)) AS g (name)
     WHERE g.name IS NOT NULL) AS gates
)
SELECT CASE WHEN cardinality(gates) > 0 OR EXISTS (
         SELECT FROM kokugen.task t
          WHERE t.namespace = :ns AND t.state = 0 AND t.hold = 'limit' AND t.gate = '' AND t.due_at <= now + :ahead::bigint
         OFFSET 0)
       THEN kokugen.admit(:ns, gates, now, now + :ahead, :most::bigint) END::text
  FROM touched, clock
