-- The runs of one node, leased or not.
SELECT coalesce(json_agg(json_build_array(id, claim, beat, coalesce(ttl_s, 0), owner)), '[]')::text
  FROM kokugen.task
 WHERE namespace = :ns::text AND state = 1 AND owner = :node::text
