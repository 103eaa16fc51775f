-- T12. Makes ended tasks wait again, the first of those that share a unique key, where no live task has it.
WITH clock AS MATERIALIZED (
  SELECT now, coalesce(:due::bigint, now) AS due
    FROM (SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now) c
), asked AS MATERIALIZED (
  SELECT t.id, t.unique_key, array_position(:ids::text[], t.id) AS nr
    FROM kokugen.task t
   WHERE t.namespace = :ns::text AND t.id = ANY (:ids) AND t.state >= 2
   ORDER BY t.id FOR UPDATE
), chosen AS MATERIALIZED (
  SELECT a.id, a.nr
    FROM (SELECT *, row_number() OVER (PARTITION BY coalesce(unique_key, id), unique_key IS NULL ORDER BY nr) AS nth
            FROM asked) AS a
   WHERE a.nth = 1 AND NOT EXISTS (
     SELECT FROM kokugen.task t
      WHERE t.namespace = :ns AND t.unique_key = a.unique_key AND t.state IN (0, 1) AND t.unique_key IS NOT NULL)
), revived AS (
  UPDATE kokugen.task t
     SET state = 0, start_deadline = t.start_deadline + (SELECT due FROM clock) - t.due_at,
         due_at = (SELECT due FROM clock), attempt = 0, lost = 0, care = t.mode, hold = NULL, reason = NULL,
         error = NULL, result = NULL, cancel_requested = false, claimed_at = NULL, started_at = NULL,
         finished_at = NULL, rev = t.rev + 1, modified_at = (SELECT now FROM clock)
    FROM chosen c
   WHERE t.namespace = :ns AND t.id = c.id
), noted AS (
  INSERT INTO kokugen.audit (namespace, at, who, what, task_id)
  SELECT :ns, (SELECT now FROM clock), :by::text, 'revive', c.id FROM chosen c
)
SELECT coalesce(json_agg(id ORDER BY nr), '[]')::text FROM chosen
