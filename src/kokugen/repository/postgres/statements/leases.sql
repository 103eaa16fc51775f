-- Those of the leases that are still their claim's, whoever holds the rows locked.
SELECT coalesce(json_agg(json_build_array(t.id, t.claim, t.cancel_requested, false)), '[]')::text
  FROM (SELECT j->>0 AS id, j->>1 AS claim FROM jsonb_array_elements(:rows::jsonb) AS j) AS lease
 CROSS JOIN LATERAL (
   SELECT t.id, t.claim, t.cancel_requested FROM kokugen.task t
    WHERE t.namespace = :ns::text AND t.id = lease.id AND t.claim = lease.claim LIMIT 1) AS t
