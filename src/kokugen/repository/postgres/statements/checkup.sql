-- What a server and a schema say of themselves, for a checkup. Ages are in seconds; times in microseconds.
SELECT current_setting('server_version') AS version,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now,
       (SELECT value::integer FROM kokugen.meta WHERE key = 'schema_version') AS schema_version,
       (SELECT json_object_agg(name, setting)::text FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'autovacuum', 'track_counts', 'data_checksums',
                        'synchronous_standby_names', 'max_connections')) AS settings,
       (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit,
       (SELECT count(*) FROM pg_stat_replication) AS standbys,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS xid_age,
       (SELECT json_build_object('live', n_live_tup, 'dead', n_dead_tup, 'vacuumed',
                 extract(epoch FROM clock_timestamp() - greatest(last_vacuum, last_autovacuum)))::text
          FROM pg_stat_all_tables WHERE relid = 'kokugen.task'::text::regclass) AS vacuum,
       (SELECT coalesce(bool_or(option = 'autovacuum_enabled=false'), false)
          FROM pg_class, unnest(reloptions) AS option WHERE oid = 'kokugen.task'::text::regclass) AS vacuum_off,
       (SELECT json_build_object('age', extract(epoch FROM clock_timestamp() - xact_start), 'pid', pid,
                 'state', state, 'application', application_name, 'user', usename)::text
          FROM pg_stat_activity
         WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state LIKE 'idle in transaction%')
           AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
           AND backend_type IN ('client backend', 'walsender', 'background worker')
         ORDER BY xact_start LIMIT 1) AS oldest,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
       (SELECT coalesce(json_agg(gid ORDER BY prepared), '[]')::text FROM pg_prepared_xacts
         WHERE database = current_database()) AS prepared,
       (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]')::text FROM pg_replication_slots
         WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL OR restart_lsn IS NOT NULL)) AS slots,
       (SELECT coalesce(json_agg(json_build_array(c.relname, i.indisvalid)), '[]')::text
          FROM pg_index i
          JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_class t ON t.oid = i.indrelid
         WHERE t.relnamespace = :schema::text::regnamespace) AS indexes,
       (SELECT coalesce(json_agg(c.relname || ' ' || right_name ORDER BY c.relname, right_name), '[]')::text
          FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_name
         WHERE c.relnamespace = :schema::text::regnamespace AND c.relkind = 'r' AND c.relname <> 'meta'
           AND NOT has_table_privilege(c.oid, right_name)) AS denied,
       (SELECT coalesce(json_agg(json_build_array(queue, due, since)), '[]')::text
          FROM (SELECT t.queue, count(*) AS due, min(t.due_at) AS since FROM kokugen.task t
                 WHERE t.state = 0 AND t.hold IS NULL AND strpos(t.queue, '@') > 0
                   AND t.due_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                 GROUP BY t.queue) AS w) AS places
