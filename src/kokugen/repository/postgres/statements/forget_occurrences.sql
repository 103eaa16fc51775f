-- Deletes what the ledger has of times before then, and how they ended, up to a bound.
WITH rows AS (
  DELETE FROM kokugen.ledger
   WHERE seq = ANY (ARRAY(
     SELECT x.seq FROM kokugen.ledger x
      WHERE x.namespace = :ns::text AND x.last < :before::bigint ORDER BY x.last LIMIT :most::bigint))
  RETURNING 1
), counted AS MATERIALIZED (
  SELECT count(*) AS rows FROM rows
), ends AS (
  DELETE FROM kokugen.occurrence_end
   WHERE seq = ANY (ARRAY(
     SELECT x.seq FROM kokugen.occurrence_end x
      WHERE x.namespace = :ns AND x.nominal < :before
      ORDER BY x.nominal LIMIT greatest(0, :most - (SELECT rows FROM counted))))
  RETURNING 1
)
SELECT (SELECT rows FROM counted) + (SELECT count(*) FROM ends)
