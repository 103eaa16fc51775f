-- The leased runs of all other nodes.
SELECT coalesce(json_agg(json_build_array(id, claim, beat, ttl_s, owner)), '[]')::text
  FROM kokugen.task
 WHERE namespace = :ns::text AND state = 1 AND owner <> :node::text AND ttl_s IS NOT NULL
