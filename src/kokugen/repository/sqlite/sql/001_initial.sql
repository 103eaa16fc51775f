CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE task (
  namespace TEXT NOT NULL,
  id TEXT NOT NULL,
  queue TEXT NOT NULL,
  rank INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  hold TEXT,
  claim TEXT,
  owner TEXT,
  beat INTEGER NOT NULL DEFAULT 0,
  ttl_s REAL,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0,
  lost INTEGER NOT NULL DEFAULT 0,
  rev INTEGER NOT NULL DEFAULT 0,
  work_id TEXT NOT NULL,
  mode INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  max_lost INTEGER NOT NULL,
  start_deadline INTEGER,
  scheduled_time INTEGER NOT NULL,
  unique_key TEXT,
  created_at INTEGER NOT NULL,
  modified_at INTEGER NOT NULL,
  claimed_at INTEGER,
  started_at INTEGER,
  finished_at INTEGER,
  final_claim TEXT,
  zone TEXT,
  local_time TEXT,
  tags TEXT,
  options TEXT,
  reason TEXT,
  param TEXT,
  result TEXT,
  error TEXT,
  PRIMARY KEY (namespace, id),
  CHECK ((state = 1) = (claim IS NOT NULL AND owner IS NOT NULL)),
  -- What no reader could make sense of, whoever writes it: levels and states that there are not, instants of no year.
  CHECK (state BETWEEN 0 AND 4),
  CHECK (rank BETWEEN -3 AND 0),
  CHECK (mode BETWEEN 0 AND 1),
  CHECK (due_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (scheduled_time BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (start_deadline BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (modified_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (claimed_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (started_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (finished_at BETWEEN -62135596800000000 AND 253402300799999999),
  CHECK (tags GLOB '[[]*]')
) STRICT;

CREATE INDEX task_waiting ON task (namespace, queue, rank, due_at, id, work_id) WHERE state = 0 AND hold IS NULL;
CREATE INDEX task_listed ON task (namespace, due_at, id);
CREATE INDEX task_working ON task (namespace, owner) WHERE state = 1;
CREATE INDEX task_ended ON task (namespace, state, finished_at) WHERE state >= 2;
CREATE INDEX task_deadline ON task (namespace, start_deadline) WHERE state = 0 AND start_deadline IS NOT NULL;
CREATE UNIQUE INDEX task_unique ON task (namespace, unique_key) WHERE state IN (0, 1) AND unique_key IS NOT NULL;

CREATE TABLE task_param (
  namespace TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (namespace, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_result (
  namespace TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (namespace, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
  namespace TEXT NOT NULL,
  task_id TEXT NOT NULL,
  fence INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  node TEXT,
  claimed_at INTEGER,
  started_at INTEGER,
  finished_at INTEGER NOT NULL,
  error TEXT,
  PRIMARY KEY (namespace, task_id, fence)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  at INTEGER NOT NULL,
  who TEXT,
  what TEXT NOT NULL,
  task_id TEXT NOT NULL,
  detail TEXT
) STRICT;

CREATE INDEX audit_task ON audit (namespace, task_id, at);

CREATE TABLE node (
  node_id TEXT PRIMARY KEY,
  label TEXT NOT NULL,
  host TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_namespace TEXT NOT NULL,
  pid_started INTEGER NOT NULL,
  version TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  stopped_at INTEGER,
  tzdata TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
