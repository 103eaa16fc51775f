-- Has these rules and, of the known names, no others; what waits or runs already is counted from now on.
WITH rule AS MATERIALIZED (
  SELECT j->>0 AS name, (j->>1)::integer AS at_once, (j->>2)::bigint AS interval_us, (j->>3)::integer AS burst
    FROM jsonb_array_elements(:rows::jsonb) AS j ORDER BY 1
), withdrawn AS (
  DELETE FROM kokugen.limit_rule r
   WHERE r.namespace = :ns::text AND r.name = ANY (:known::text[]) AND r.name NOT IN (SELECT name FROM rule)
), declared AS (
  INSERT INTO kokugen.limit_rule (namespace, name, at_once, interval_us, burst)
  SELECT :ns, name, at_once, interval_us, burst FROM rule
  ON CONFLICT (namespace, name) DO UPDATE SET at_once = excluded.at_once, interval_us = excluded.interval_us,
     burst = excluded.burst
)
SELECT count(*) FROM rule
