-- What stands in the way of tasks that could not be added: whether the id is there, and who has the unique key.
SELECT json_agg(json_build_array(
         EXISTS (SELECT FROM kokugen.task t WHERE t.namespace = :ns::text AND t.id = r.row->>0),
         (SELECT t.id FROM kokugen.task t
           WHERE t.namespace = :ns AND t.unique_key = r.row->>1 AND t.state IN (0, 1) AND t.unique_key IS NOT NULL))
       ORDER BY r.nr)::text
  FROM jsonb_array_elements(:rows::jsonb) WITH ORDINALITY AS r (row, nr)
