-- The rules, who waits at gates, and who has their slots.
SELECT (SELECT coalesce(json_agg(json_build_array(r.name, r.at_once, r.interval_us, r.burst)), '[]')::text
          FROM kokugen.limit_rule r WHERE r.namespace = :ns::text) AS rules,
       (SELECT coalesce(json_agg(json_build_array(w.gate, w.n, w.due)), '[]')::text
          FROM (SELECT t.gate, count(*) AS n, min(t.due_at) AS due FROM kokugen.task t
                 WHERE t.namespace = :ns AND t.state = 0 AND t.hold = 'limit' AND t.gate <> ''
                 GROUP BY t.gate) AS w) AS waiting,
       (SELECT coalesce(json_agg(json_build_array(h.gate, h.n)), '[]')::text
          FROM (SELECT t.limit_key AS gate, count(*) AS n FROM kokugen.task t
                 WHERE t.namespace = :ns AND t.limit_key IS NOT NULL AND t.state IN (0, 1)
                   AND (t.gate IS NULL OR t.gate = t.limit_work OR t.gate = t.limit_queue) GROUP BY t.limit_key
                 UNION ALL
                SELECT t.limit_work, count(*) FROM kokugen.task t
                 WHERE t.namespace = :ns AND t.limit_work IS NOT NULL AND t.state IN (0, 1)
                   AND (t.gate IS NULL OR t.gate = t.limit_queue) GROUP BY t.limit_work
                 UNION ALL
                SELECT t.limit_queue, count(*) FROM kokugen.task t
                 WHERE t.namespace = :ns AND t.limit_queue IS NOT NULL AND t.state IN (0, 1)
                   AND t.gate IS NULL GROUP BY t.limit_queue) AS h) AS having
