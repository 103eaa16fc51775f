-- T13. Extends leases, by another ttl where one is given; rows that someone holds locked are skipped, never waited for.
WITH mine AS MATERIALIZED (
  SELECT t.ctid
    FROM (SELECT j->>0 AS id, j->>1 AS claim FROM jsonb_array_elements(:rows::jsonb) AS j ORDER BY 1) AS lease
   CROSS JOIN LATERAL (
     SELECT t.ctid FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.id = lease.id AND t.claim = lease.claim
      LIMIT 1 FOR UPDATE SKIP LOCKED) AS t
), beaten AS (
  UPDATE kokugen.task SET beat = beat + 1, ttl_s = coalesce(:ttl::float8, ttl_s) WHERE ctid = ANY (ARRAY(SELECT ctid FROM mine))
  RETURNING id, claim, cancel_requested
)
SELECT coalesce(json_agg(json_build_array(id, claim, cancel_requested)), '[]')::text FROM beaten
