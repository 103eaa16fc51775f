-- A node stopped.
UPDATE kokugen.node
   SET stopped_at = coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
 WHERE node_id = :node::text
