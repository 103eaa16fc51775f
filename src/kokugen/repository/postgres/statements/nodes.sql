-- The nodes, newest first.
SELECT coalesce(json_agg(to_json(n) ORDER BY n.started_at DESC, n.node_id), '[]')::text FROM kokugen.node n
