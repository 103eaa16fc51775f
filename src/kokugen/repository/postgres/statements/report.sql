-- What runs say of their progress, where the claim is still the row's; rows that someone holds locked are skipped.
WITH mine AS MATERIALIZED (
  SELECT t.ctid, said.progress
    FROM (SELECT j->>0 AS id, j->>1 AS claim, j->>2 AS progress FROM jsonb_array_elements(:rows::jsonb) AS j ORDER BY 1)
      AS said
   CROSS JOIN LATERAL (
     SELECT t.ctid FROM kokugen.task t
      WHERE t.namespace = :ns::text AND t.id = said.id AND t.claim = said.claim
      LIMIT 1 FOR UPDATE SKIP LOCKED) AS t
), told AS (
  UPDATE kokugen.task t SET progress = m.progress FROM mine m WHERE t.ctid = m.ctid RETURNING 1
)
SELECT count(*) FROM told
