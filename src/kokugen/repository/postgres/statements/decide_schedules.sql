-- Takes many decisions about schedules at once; those that it does not answer are to be looked at one by one.
SELECT kokugen.decide_schedules(
  :ns::text, :changes::jsonb, coalesce(:now::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
