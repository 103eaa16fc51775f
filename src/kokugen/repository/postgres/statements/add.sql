-- T1. Adds what collides with nothing, and answers with the ids that were added where those are not all, and whether any has
-- limits: it stops at its first gate, in line there where it is due by now and `line_up`.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), rules AS MATERIALIZED (
  SELECT ARRAY(SELECT r.name FROM kokugen.limit_rule r WHERE r.namespace = :ns::text) AS names
), added AS (
  INSERT INTO kokugen.task (
    namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care, max_attempts, max_lost,
    start_deadline, unique_key, tags, options, zone, local_time, limit_key, limit_work, limit_queue, gate, hold,
    created_at, modified_at)
  SELECT :ns::text, j->>0, j->>1, (j->>2)::bigint, (j->>3)::bigint, j->>4, j->>5, (j->>6)::smallint,
         (j->>7)::smallint, (j->>7)::smallint, (j->>8)::integer, (j->>9)::integer,
         (j->>10)::bigint, j->>11, j->>12, j->>13, j->>14, j->>15, gate.key, gate.work, gate.queue,
         CASE WHEN (j->>2)::bigint <= clock.now + :line_up::bigint THEN coalesce(gate.key, gate.work, gate.queue)
              WHEN coalesce(gate.key, gate.work, gate.queue) IS NOT NULL THEN '' END,
         CASE WHEN coalesce(gate.key, gate.work, gate.queue) IS NOT NULL THEN 'limit' END, clock.now, clock.now
    FROM jsonb_array_elements(:rows::jsonb) AS j, clock, rules
   CROSS JOIN LATERAL (
     SELECT 'key:' || (j->>16) AS key, CASE WHEN 'work:' || (j->>1) = ANY (rules.names) THEN 'work:' || (j->>1) END AS work,
            CASE WHEN kokugen.queue_gate(j->>5) = ANY (rules.names) THEN kokugen.queue_gate(j->>5) END AS queue) AS gate
  ON CONFLICT DO NOTHING
  RETURNING id, gate
)
SELECT CASE WHEN count(*) < jsonb_array_length(:rows) THEN coalesce(json_agg(id), '[]')::text END,
       coalesce(bool_or(gate IS NOT NULL), false)
  FROM added
