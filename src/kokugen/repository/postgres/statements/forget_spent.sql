-- Deletes the buckets that are full again.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), forgotten AS (
  DELETE FROM kokugen.limit_bucket b WHERE b.namespace = :ns::text AND b.spent_until < (SELECT now FROM clock) RETURNING 1
)
SELECT count(*) FROM forgotten
