-- The history of a task, oldest first.
SELECT coalesce(json_agg(json_build_object(
         'fence', fence, 'attempt', attempt, 'outcome', outcome, 'node', node, 'error', error,
         'claimed_at', claimed_at, 'started_at', started_at, 'finished_at', finished_at) ORDER BY fence), '[]')::text
  FROM kokugen.attempt
 WHERE namespace = :ns::text AND task_id = :id::text
