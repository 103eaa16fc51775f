-- Has the waiting task with a unique key take what is asked for; a running one gives its key away. Answers 3 where that
-- was done, 2 where it is of another work or queue, and nothing where the key is free now.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), asked AS MATERIALIZED (
  SELECT :row::jsonb AS j
), old AS MATERIALIZED (
  SELECT t.state, t.work_id = j->>1 AND t.queue = j->>5 AS fits
    FROM kokugen.task t, asked
   WHERE t.namespace = :ns::text AND t.id = :id::text AND t.state IN (0, 1) AND t.unique_key = j->>11 FOR UPDATE OF t
), freed AS (
  UPDATE kokugen.task t SET unique_key = NULL FROM old o
   WHERE t.namespace = :ns AND t.id = :id AND o.state = 1 AND o.fits
), taken AS (
  UPDATE kokugen.task t
     SET param = j->>4, rank = (j->>6)::smallint, mode = (j->>7)::smallint,
         care = CASE WHEN t.lost > 0 THEN 2 ELSE (j->>7)::smallint END,
         max_attempts = (j->>8)::integer, max_lost = (j->>9)::integer, tags = j->>12, options = j->>13,
         due_at = CASE j->>17 WHEN '3' THEN t.due_at ELSE (j->>2)::bigint END,
         scheduled_time = CASE j->>17 WHEN '3' THEN t.scheduled_time ELSE (j->>3)::bigint END,
         start_deadline = CASE j->>17 WHEN '3' THEN t.start_deadline ELSE (j->>10)::bigint END,
         zone = CASE j->>17 WHEN '3' THEN t.zone ELSE j->>14 END,
         local_time = CASE j->>17 WHEN '3' THEN t.local_time ELSE j->>15 END,
         hold = nullif(t.hold, 'undecodable'), rev = t.rev + 1, modified_at = (SELECT now FROM clock)
    FROM old o, asked
   WHERE t.namespace = :ns AND t.id = :id AND o.state = 0 AND o.fits
)
SELECT CASE WHEN NOT fits THEN 2 WHEN state = 0 THEN 3 END FROM old
