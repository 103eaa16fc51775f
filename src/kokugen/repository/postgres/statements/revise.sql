-- T11. Changes a waiting task if its revision is the one given; answers with state and revision as they were.
WITH clock AS MATERIALIZED (
  SELECT coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now
), old AS MATERIALIZED (
  SELECT t.state, t.rev, t.state = 0 AND (:rev::integer IS NULL OR t.rev = :rev) AS fits
    FROM kokugen.task t
   WHERE t.namespace = :ns::text AND t.id = :id::text FOR UPDATE
), changed AS (
  UPDATE kokugen.task t
     SET rev = t.rev + 1, modified_at = (SELECT now FROM clock),
         due_at = coalesce(:due_at::bigint, t.due_at),
         start_deadline = t.start_deadline + coalesce(:due_at - t.due_at, 0),
         scheduled_time = coalesce(:scheduled_time::bigint, t.scheduled_time),
         zone = CASE WHEN :scheduled_time IS NULL THEN coalesce(:zone::text, t.zone) ELSE :zone END,
         local_time = CASE WHEN :scheduled_time IS NULL THEN coalesce(:local_time::text, t.local_time) ELSE :local_time END,
         rank = coalesce(:rank::smallint, t.rank), work_id = coalesce(:work_id::text, t.work_id),
         param = coalesce(:param::text, t.param),
         hold = CASE WHEN NOT :release::boolean THEN coalesce(:hold::text, t.hold)
                     WHEN t.overlap IS NOT NULL AND EXISTS (
                       SELECT FROM kokugen.task a
                        WHERE a.namespace = :ns AND a.schedule_id = t.schedule_id AND a.overlap IS NOT NULL
                          AND (a.state = 1 OR a.state = 0 AND (a.hold IS NULL OR a.hold = 'limit')) AND a.id <> t.id) THEN 'overlap' END
    FROM old o
   WHERE t.namespace = :ns AND t.id = :id AND o.fits
), noted AS (
  INSERT INTO kokugen.audit (namespace, at, who, what, task_id, detail)
  SELECT :ns, (SELECT now FROM clock), :by::text, 'revise', :id, :detail::text FROM old WHERE fits AND :by IS NOT NULL
)
SELECT state, rev FROM old
