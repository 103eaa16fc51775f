-- The last instant of a part of changes: that of the `limit`th change, or, where all of those share the first instant,
-- the next one after it; NULL where the part holds the rest.
WITH nth AS MATERIALIZED (
  SELECT t.modified_at FROM kokugen.task t
   WHERE t.namespace = :ns::text AND t.modified_at >= :since::bigint
   ORDER BY t.modified_at OFFSET :limit::bigint - 1 LIMIT 1
)
SELECT CASE WHEN (SELECT modified_at FROM nth) = :since
            THEN (SELECT min(t.modified_at) FROM kokugen.task t WHERE t.namespace = :ns AND t.modified_at > :since)
            ELSE (SELECT modified_at FROM nth) END
