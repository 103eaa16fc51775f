-- The schedules that want a decision by then, the earliest first.
SELECT json_agg(json_build_array(
         s.id, s.name, s.owner, s.spec, s.policy, s.template, s.overlap, s.gen, s.rev, s.edition, s.decided, s.next_at,
         s.wake_at, s.spaced, s.paused_at, s.paused_until, s.paused_note, s.paused_by, s.runs, s.skipped, s.coalesced,
         s.created_at, s.modified_at, s.delay, s.failures, s.failures_max) ORDER BY s.wake_at, s.id)::text AS rows
  FROM (SELECT * FROM kokugen.schedule x
         WHERE x.namespace = :ns::text AND x.wake_at IS NOT NULL AND x.wake_at <= :until::bigint
         ORDER BY x.wake_at, x.id LIMIT :most::bigint) AS s
