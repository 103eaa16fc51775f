-- A part of a ledger: decisions as they were taken, tasks and ends in order of their times; the latest of each.
SELECT (SELECT json_agg(json_build_array(l.schedule_id, l.gen, l.first, l.last, l.count, l.reason, l.stand_in, l.detail,
                                         l.at) ORDER BY l.seq)::text
          FROM (SELECT * FROM kokugen.ledger x
                 WHERE x.namespace = :ns::text AND x.schedule_id = :id::text AND x.last >= :first::bigint
                   AND x.first <= :last::bigint
                 ORDER BY x.last DESC LIMIT :most::bigint) AS l) AS rows,
       (SELECT json_agg(json_build_array(t.id, t.nominal, t.state, t.due_at, t.hold, t.reason, t.attempt, t.started_at,
                                         t.finished_at) ORDER BY t.nominal)::text
          FROM (SELECT * FROM kokugen.task x
                 WHERE x.namespace = :ns AND x.schedule_id = :id AND x.nominal BETWEEN :first AND :last
                 ORDER BY x.nominal DESC LIMIT :most) AS t) AS tasks,
       (SELECT json_agg(json_build_array(e.nominal, e.task_id, e.state, e.reason, e.error, e.finished_at)
                        ORDER BY e.nominal, e.seq)::text
          FROM (SELECT * FROM kokugen.occurrence_end x
                 WHERE x.namespace = :ns AND x.schedule_id = :id AND x.nominal BETWEEN :first AND :last
                 ORDER BY x.nominal DESC, x.seq DESC LIMIT :most) AS e) AS ends
