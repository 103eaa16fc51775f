-- T12. Makes ended tasks wait again, the first of those that share a unique key, where no live task has it; so, too,
-- occurrences of a schedule that may not overlap.
--
-- As in `cancel`, all of it is undone where a row changed under this statement's snapshot, and is to be sent again.
WITH clock AS MATERIALIZED (
  SELECT now, coalesce(:due::bigint, now) AS due
    FROM (SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now) c
), asked AS MATERIALIZED (
  SELECT t.*, asked.nr
    FROM (SELECT id, min(nr) AS nr FROM unnest(:ids::text[]) WITH ORDINALITY AS a (id, nr) GROUP BY id ORDER BY id)
      AS asked
   CROSS JOIN LATERAL (
     SELECT t.ctid AS place, t.id, t.unique_key, CASE WHEN t.overlap IS NOT NULL THEN t.schedule_id END AS lone
       FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.id = asked.id AND t.state >= 2
      LIMIT 1 FOR UPDATE) AS t
), chosen AS MATERIALIZED (
  SELECT a.id, a.place, a.nr
    FROM (SELECT *, row_number() OVER (PARTITION BY coalesce(unique_key, id), unique_key IS NULL ORDER BY nr) AS nth,
                 row_number() OVER (PARTITION BY coalesce(lone, id), lone IS NULL ORDER BY nr) AS nth_lone
            FROM asked) AS a
   WHERE a.nth = 1 AND a.nth_lone = 1 AND NOT EXISTS (
     SELECT FROM kokugen.task t
      WHERE t.namespace = :ns AND t.schedule_id = a.lone AND t.overlap IS NOT NULL
        AND (t.state = 1 OR t.state = 0 AND (t.hold IS NULL OR t.hold = 'limit'))
     OFFSET 0) AND NOT EXISTS (
     SELECT FROM kokugen.task t
      WHERE t.namespace = :ns AND t.unique_key = a.unique_key AND t.state IN (0, 1) AND t.unique_key IS NOT NULL
     OFFSET 0)
), revived AS (
  UPDATE kokugen.task t
     SET state = 0, start_deadline = t.start_deadline + (SELECT due FROM clock) - t.due_at,
         due_at = (SELECT due FROM clock), attempt = 0, lost = 0, care = t.mode, hold = NULL, reason = NULL,
         error = NULL, result = NULL, cancel_requested = false, claimed_at = NULL, started_at = NULL,
         finished_at = NULL, rev = t.rev + 1, modified_at = (SELECT now FROM clock)
   WHERE t.ctid = ANY (ARRAY(SELECT place FROM chosen))
  RETURNING t.id
), noted AS (
  INSERT INTO kokugen.audit (namespace, at, who, what, task_id)
  SELECT :ns, (SELECT now FROM clock), :by::text, 'revive', c.id FROM chosen c
)
SELECT coalesce(json_agg(id ORDER BY nr), '[]')::text AS ids,
       1 / ((SELECT count(*) FROM revived) = count(*))::integer AS whole
  FROM chosen
