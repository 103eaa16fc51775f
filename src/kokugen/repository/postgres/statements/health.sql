-- What the store says of itself. Waiting tasks that are on hold are neither overdue nor due next.
SELECT current_setting('server_version') AS version,
       (SELECT value FROM kokugen.meta WHERE key = 'schema_version') AS schema_version,
       current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off' AS durable,
       (SELECT coalesce(json_agg(json_build_array(state, n, held, overdue, oldest)), '[]')::text
          FROM (SELECT state, count(*) AS n, count(*) FILTER (WHERE hold IS NOT NULL) AS held,
                       count(*) FILTER (WHERE hold IS NULL AND due_at <= c.now) AS overdue,
                       min(due_at) FILTER (WHERE hold IS NULL) AS oldest
                  FROM kokugen.task,
                       (SELECT coalesce(:now::bigint,
                          (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now) AS c
                 WHERE namespace = :ns::text
                 GROUP BY state) AS s) AS states
