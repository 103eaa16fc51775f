-- The runs that a node has under one claim, as the claim itself would have answered.
SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now,
       json_agg(json_build_array(id, work_id, param, queue, mode, scheduled_time, due_at, attempt,
         max_attempts, lost, max_lost, fence, tags, options, start_deadline,
         CASE WHEN chain IS NOT NULL THEN json_build_array(chain, follows, follows_arg, given) END) ORDER BY rank, due_at, id)::text AS tasks
  FROM kokugen.task
 WHERE namespace = :ns::text AND state = 1 AND owner = :node::text AND claim = :nonce::text
