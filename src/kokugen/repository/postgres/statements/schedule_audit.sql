-- The changes of the schedules of a name by someone, newest first.
SELECT json_agg(json_build_array(a.schedule_id, a.name, a.at, a.who, a.what, a.why, a.before, a.after)
                ORDER BY a.seq DESC)::text AS rows
  FROM (SELECT * FROM kokugen.schedule_audit x
         WHERE x.namespace = :ns::text AND x.name = :name::text ORDER BY x.seq DESC LIMIT :most::bigint) AS a
