-- What became of runs: 0 its outcome is written, 1 another claim has the row, 2 it is still under way.
SELECT json_agg(coalesce((
         SELECT CASE WHEN t.claim = r.row->>1 THEN 2 WHEN t.final_claim = r.row->>1 THEN 0 ELSE 1 END
           FROM kokugen.task t WHERE t.namespace = :ns::text AND t.id = r.row->>0), 1) ORDER BY r.nr)::text
  FROM jsonb_array_elements(:rows::jsonb) WITH ORDINALITY AS r (row, nr)
