-- A node is there, or was seen again.
INSERT INTO kokugen.node AS n (
  node_id, label, host, boot_id, pid, pid_namespace, pid_started, version, started_at, seen_at, tzdata,
  offers)
SELECT j->>'node_id', j->>'label', j->>'host', j->>'boot_id', (j->>'pid')::bigint, j->>'pid_namespace',
       (j->>'pid_started')::bigint, j->>'version', coalesce(nullif((j->>'started_at')::bigint, 0), clock.now), clock.now,
       coalesce(j->>'tzdata', ''), coalesce(j->>'offers', '')
  FROM (SELECT :node::jsonb AS j) AS given,
       (SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now) AS clock
ON CONFLICT (node_id) DO UPDATE SET seen_at = excluded.seen_at, stopped_at = NULL, offers = excluded.offers
