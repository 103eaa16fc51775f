-- T1. Adds what collides with nothing, and answers with the ids that were added where those are not all, and whether
-- any has limits: it stops at its first gate, in line there where it is due by now and `line_up`. Tasks that follow
-- others are added with the first of their chain, or not at all, and stand in no line before that is over.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), rules AS MATERIALIZED (
  SELECT ARRAY(SELECT r.name FROM kokugen.limit_rule r WHERE r.namespace = :ns::text) AS names
), asked AS MATERIALIZED (
  SELECT j, gate.key, gate.work, gate.queue, coalesce(gate.key, gate.work, gate.queue) AS first
    FROM jsonb_array_elements(:rows::jsonb) AS j, rules
   CROSS JOIN LATERAL (
     SELECT 'key:' || (j->>16) AS key,
            CASE WHEN 'work:' || (j->>1) = ANY (rules.names) THEN 'work:' || (j->>1) END AS work,
            CASE WHEN kokugen.queue_gate(j->>5) = ANY (rules.names) THEN kokugen.queue_gate(j->>5) END AS queue) AS gate
), added AS (
  INSERT INTO kokugen.task (
    namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
    start_deadline, unique_key, tags, options, zone, local_time, chain, limit_key, limit_work, limit_queue, gate, hold,
    created_at, modified_at)
  SELECT :ns::text, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint,
         (j->>7)::smallint, (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer,
         (j->>10)::bigint, j->>11, j->>12, j->>13, j->>14, j->>15, j->>19, a.key, a.work, a.queue,
         CASE WHEN (j->>2)::bigint <= clock.now + :line_up::bigint THEN a.first WHEN a.first IS NOT NULL THEN '' END,
         CASE WHEN a.first IS NOT NULL THEN 'limit' END, clock.now, clock.now
    FROM asked a, clock
   WHERE j->>20 IS NULL
  ON CONFLICT DO NOTHING
  RETURNING id, gate
), behind AS (
  INSERT INTO kokugen.task (
    namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
    start_deadline, tags, options, hold, chain, follows, follows_on, follows_delay, follows_arg, limit_key, limit_work,
    limit_queue, gate, created_at, modified_at)
  SELECT :ns, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint,
         (j->>7)::smallint, (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer, (j->>10)::bigint, j->>12, j->>13,
         j->>18, j->>19, j->>20, (j->>21)::smallint, (j->>22)::bigint, j->>23, a.key, a.work, a.queue,
         CASE WHEN a.first IS NOT NULL THEN '' END, clock.now, clock.now
    FROM asked a, clock
   WHERE j->>20 IS NOT NULL AND j->>19 = ANY (ARRAY(SELECT id FROM added))
  ON CONFLICT DO NOTHING
  RETURNING id
)
SELECT CASE WHEN count(*) < jsonb_array_length(:rows) THEN coalesce(json_agg(id), '[]')::text END,
       EXISTS (SELECT FROM added WHERE gate IS NOT NULL)
  FROM (SELECT id FROM added UNION ALL SELECT id FROM behind) AS whole
