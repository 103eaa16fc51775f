-- T1. Adds what collides with nothing, and answers with the ids that were added where those are not all. Tasks that
-- follow others are added with the first of their chain, or not at all.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), added AS (
  INSERT INTO kokugen.task (
    namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
    start_deadline, unique_key, tags, options, zone, local_time, chain, created_at, modified_at)
  SELECT :ns::text, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint,
         (j->>7)::smallint, (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer,
         (j->>10)::bigint, j->>11, j->>12, j->>13, j->>14, j->>15, j->>17, clock.now, clock.now
    FROM jsonb_array_elements(:rows::jsonb) AS j, clock
   WHERE j->>18 IS NULL
  ON CONFLICT DO NOTHING
  RETURNING id
), behind AS (
  INSERT INTO kokugen.task (
    namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
    start_deadline, tags, options, hold, chain, follows, follows_on, follows_delay, follows_arg,
    created_at, modified_at)
  SELECT :ns, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint,
         (j->>7)::smallint, (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer, (j->>10)::bigint, j->>12, j->>13,
         j->>16, j->>17, j->>18, (j->>19)::smallint, (j->>20)::bigint, j->>21, clock.now, clock.now
    FROM jsonb_array_elements(:rows::jsonb) AS j, clock
   WHERE j->>18 IS NOT NULL AND j->>17 = ANY (ARRAY(SELECT id FROM added))
  ON CONFLICT DO NOTHING
  RETURNING id
)
SELECT CASE WHEN count(*) < jsonb_array_length(:rows) THEN coalesce(json_agg(id), '[]')::text END
  FROM (SELECT id FROM added UNION ALL SELECT id FROM behind) AS whole
