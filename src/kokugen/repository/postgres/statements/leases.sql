-- Those of the leases that are still their claim's, whoever holds the rows locked.
SELECT coalesce(json_agg(json_build_array(t.id, t.claim, t.cancel_requested, false)), '[]')::text
  FROM jsonb_array_elements(:rows::jsonb) AS j
  JOIN kokugen.task t ON t.namespace = :ns::text AND t.id = j->>0 AND t.state = 1 AND t.claim = j->>1
