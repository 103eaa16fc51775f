-- Swaps schedules, in the order in which they come: the caller has put them in order of their ids.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
)
SELECT json_agg(kokugen.change_schedule(:ns::text, j, (SELECT now FROM clock)) ORDER BY nr)::text
  FROM jsonb_array_elements(:changes::jsonb) WITH ORDINALITY AS c (j, nr)
