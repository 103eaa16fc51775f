-- Run with the store's schema as the search path. Names and ids compare as Python compares them: COLLATE "C".

CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);

CREATE TABLE task (
  due_at bigint NOT NULL,
  scheduled_time bigint NOT NULL,
  start_deadline bigint,
  created_at bigint NOT NULL,
  modified_at bigint NOT NULL,
  claimed_at bigint,
  started_at bigint,
  finished_at bigint,
  fence bigint NOT NULL DEFAULT 0,
  ttl_s double precision,
  beat integer NOT NULL DEFAULT 0,
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  lost integer NOT NULL DEFAULT 0,
  max_lost integer NOT NULL,
  rev integer NOT NULL DEFAULT 0,
  state smallint NOT NULL DEFAULT 0,
  rank smallint NOT NULL,
  mode smallint NOT NULL,
  care smallint NOT NULL, -- 0: it may wait in a buffer, 1: it runs at most once, 2: it was lost before
  cancel_requested boolean NOT NULL DEFAULT false,
  namespace text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  work_id text COLLATE "C" NOT NULL,
  hold text,
  claim text COLLATE "C",
  owner text COLLATE "C",
  final_claim text COLLATE "C",
  unique_key text COLLATE "C",
  zone text,
  local_time text,
  tags text,
  options text,
  reason text,
  param text NOT NULL,
  result text,
  error text,
  PRIMARY KEY (namespace, id),
  CHECK ((state = 1) = (claim IS NOT NULL AND owner IS NOT NULL)),
  -- What no reader could make sense of, whoever writes it: levels and states that there are not, instants of no year.
  CHECK (state BETWEEN 0 AND 4),
  CHECK (rank BETWEEN -3 AND 0),
  CHECK (mode BETWEEN 0 AND 1),
  CHECK (care = CASE WHEN lost > 0 THEN 2 ELSE mode END),
  CHECK (due_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (scheduled_time BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (start_deadline BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (modified_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (claimed_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (started_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (finished_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (json_typeof(tags::json) = 'array')
) WITH (
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_analyze_scale_factor = 0.05
);

CREATE INDEX task_waiting ON task (namespace, queue, care, rank, due_at, id) WHERE state = 0 AND hold IS NULL;
CREATE INDEX task_deadline ON task (namespace, start_deadline)
  WHERE state = 0 AND hold IS NULL AND start_deadline IS NOT NULL;
CREATE INDEX task_working ON task (owner) WHERE state = 1;
CREATE INDEX task_ended ON task (namespace, state, finished_at) WHERE state >= 2;
CREATE UNIQUE INDEX task_unique ON task (namespace, unique_key) WHERE state IN (0, 1) AND unique_key IS NOT NULL;

CREATE TABLE attempt (
  namespace text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  fence bigint NOT NULL,
  attempt integer NOT NULL,
  outcome text NOT NULL,
  node text,
  claimed_at bigint,
  started_at bigint,
  finished_at bigint NOT NULL,
  error text,
  PRIMARY KEY (namespace, task_id, fence)
);

CREATE TABLE audit (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  namespace text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  who text,
  what text NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  detail text
);

CREATE INDEX audit_task ON audit (namespace, task_id, at);

CREATE TABLE node (
  node_id text COLLATE "C" PRIMARY KEY,
  label text NOT NULL,
  host text NOT NULL,
  boot_id text NOT NULL,
  pid bigint NOT NULL,
  pid_namespace text NOT NULL,
  pid_started bigint NOT NULL,
  version text NOT NULL,
  started_at bigint NOT NULL,
  seen_at bigint NOT NULL,
  stopped_at bigint,
  tzdata text NOT NULL DEFAULT ''
);
