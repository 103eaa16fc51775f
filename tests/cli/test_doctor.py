"""`kokugen doctor`: well stores are well, and what is made wrong on purpose is found, on files and on servers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kokugen import Scheduler, TaskParam
from kokugen.cli.doctor import mixtures
from kokugen.clock import SystemClock
from kokugen.process import this_node
from kokugen.repository.checkup import Finding, Level
from kokugen.repository.locate import open_archive
from kokugen.task import NodeInfo, replace
from kokugen.zones import tz_version
from tests.servers.postgres import DURABLE, PostgresServer, is_installed, newest, running
from tests.servers.stores import query, store_url

from .conftest import CommandLine

HOUR_US = 3_600_000_000


def findings(kokugen: CommandLine, url: str, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and of each check the level and what was said."""
    result = kokugen("doctor", "--url", url, "--json", *words)
    assert result.stderr == ""
    told = json.loads(result.stdout)["findings"]
    return result.exit_code, {one["check"]: (one["level"], one["said"]) for one in told}


def make(url: str) -> None:
    scheduler = Scheduler(url)
    scheduler.open()
    scheduler.close()


# -- Files


@pytest.fixture(params=["sqlite", "sqlite+sqlite3"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store in a file."""
    url = f"{request.param}:///{tmp_path / 'tasks.db'}"
    make(url)
    return url


def test_a_file_that_is_well_has_no_problem(kokugen: CommandLine, file: str) -> None:
    code, told = findings(kokugen, file)
    assert code == 0
    assert {level for level, _ in told.values()} == {"ok"}
    assert told.keys() >= {"kokugen", "time zones", "sqlite", "permissions", "schema", "journal", "durability"}
    assert told.keys() >= {"oldest snapshot", "indexes", "integrity", "clocks", "versions", "disk", "file system"}
    assert told["writing"] == ("ok", "the file and its directory may be written")


def test_it_changes_nothing_in_a_file(kokugen: CommandLine, file: str, tmp_path: Path) -> None:
    before = (tmp_path / "tasks.db").read_bytes()
    findings(kokugen, file)
    assert (tmp_path / "tasks.db").read_bytes() == before


def test_it_says_what_to_do(kokugen: CommandLine, file: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.db").chmod(0o644)
    result = kokugen("doctor", "--url", file)
    assert result.exit_code == 1
    assert "problem  permissions" in result.stdout
    assert f"→ chmod 600 {tmp_path / 'tasks.db'}" in result.stdout
    assert result.stdout.endswith("1 problem, 0 warnings\n")


@pytest.mark.skipif(os.name == "nt", reason="permissions are bits elsewhere")
@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o640, "warning"), (0o604, "problem"), (0o666, "problem")])
def test_a_file_that_others_may_read_is_found(
    kokugen: CommandLine, file: str, tmp_path: Path, mode: int, level: str
) -> None:
    (tmp_path / "tasks.db").chmod(mode)
    code, told = findings(kokugen, file)
    assert told["permissions"][0] == level
    assert code == (level == "problem")


def damage(path: Path, where: slice) -> None:
    data = bytearray(path.read_bytes())
    data[where] = b"\xa5" * len(data[where])
    path.write_bytes(data)


@pytest.mark.parametrize("words", [(), ("--quick",)])
def test_a_page_that_was_overwritten_is_found(
    kokugen: CommandLine, file: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    damage(tmp_path / "tasks.db", slice(4096 * 4, 4096 * 6))
    code, told = findings(kokugen, file, *words)
    assert code == 1
    assert told["integrity"][0] == "problem"


def test_a_row_that_is_missing_in_an_index_is_found_but_not_quickly(
    kokugen: CommandLine, file: str, tmp_path: Path
) -> None:
    kokugen.done("schedule", "remind", "--in", "5m", "--id", "needle-in-an-index", "--url", file)
    path = tmp_path / "tasks.db"
    data = path.read_bytes()
    last = data.rindex(b"needle-in-an-index")
    path.write_bytes(data[:last] + b"noodle" + data[last + 6 :])
    assert findings(kokugen, file)[1]["integrity"][0] == "problem"


def test_a_file_that_is_no_database_is_found(kokugen: CommandLine, file: str, tmp_path: Path) -> None:
    damage(tmp_path / "tasks.db", slice(0, 200))
    code, told = findings(kokugen, file)
    assert (code, told["store"][0]) == (1, "problem")
    assert "is not an SQLite database" in told["store"][1]


def test_an_index_that_is_gone_is_found(kokugen: CommandLine, file: str, tmp_path: Path) -> None:
    import apsw

    db = apsw.Connection(str(tmp_path / "tasks.db"))
    db.execute("DROP INDEX task_waiting")
    db.close()
    assert findings(kokugen, file)[1]["indexes"] == ("problem", "missing: task_waiting")


def test_a_log_that_an_old_library_may_spoil_is_found(kokugen: CommandLine, tmp_path: Path) -> None:
    from kokugen.repository.sqlite.library import WAL_SINCE, Standard

    if Standard().version >= WAL_SINCE:
        pytest.skip("this Python's SQLite is new enough")
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}")
    scheduler.open()
    scheduler.close()
    assert findings(kokugen, f"sqlite+sqlite3:///{tmp_path / 'tasks.db'}")[1]["journal"][0] == "problem"


# -- Servers


@pytest.fixture(scope="module")
def durable() -> Iterator[PostgresServer]:
    """A server as users run it."""
    with running(newest, {**DURABLE, "max_prepared_transactions": "2"}) as server:
        yield server


@pytest.fixture
def schema(durable: PostgresServer, request: pytest.FixtureRequest) -> str:
    """The URL of a store on that server."""
    url = store_url(durable.url, request.node.nodeid)
    make(url)
    return url


def test_a_server_that_is_well_has_no_problem(kokugen: CommandLine, schema: str) -> None:
    code, told = findings(kokugen, schema)
    assert code == 0
    assert {level for level, _ in told.values()} == {"ok"}
    assert told.keys() >= {"postgresql", "schema", "durability", "checksums", "autovacuum", "transaction ids"}
    assert told.keys() >= {"connections", "indexes", "rights", "oldest snapshot", "clocks", "versions"}


@pytest.mark.skipif(not is_installed(15), reason="install postgresql-15")
def test_an_older_server_is_looked_over_too(kokugen: CommandLine, postgres_15: str) -> None:
    url = store_url(postgres_15, "doctor")
    make(url)
    code, told = findings(kokugen, url)
    assert (code, told["durability"][0]) == (1, "problem"), "the servers of tests do not wait for the disk"
    assert told["checksums"] == ("warning", "off: a damaged disk goes unnoticed")
    assert {level for check, (level, _) in told.items() if check not in {"durability", "checksums"}} == {"ok"}


@contextmanager
def setting(server: PostgresServer, name: str, value: str) -> Iterator[None]:
    """A setting of a server, for a block."""
    query(server.url, f"ALTER SYSTEM SET {name} = {value}")
    query(server.url, "SELECT pg_reload_conf()")
    until(server, name, value)
    try:
        yield
    finally:
        query(server.url, f"ALTER SYSTEM RESET {name}")
        query(server.url, "SELECT pg_reload_conf()")
        until(server, name, "on")


def until(server: PostgresServer, name: str, value: str) -> None:
    """Wait until new sessions see a setting."""
    for _ in range(3000):
        if query(server.url, f"SHOW {name}")[0][0] == value:
            return
    raise AssertionError(f"{name} did not become {value}")


@pytest.mark.parametrize("name", ["autovacuum", "track_counts"])
def test_a_setting_that_is_off_is_found(kokugen: CommandLine, durable: PostgresServer, schema: str, name: str) -> None:
    with setting(durable, name, "off"):
        code, told = findings(kokugen, schema)
    assert (code, told["autovacuum"][0]) == (1, "problem")


def test_a_server_that_does_not_wait_for_its_disk_is_found(kokugen: CommandLine) -> None:
    with running(newest, {**DURABLE, "fsync": "off"}) as server:
        url = store_url(server.url, "off")
        make(url)
        code, told = findings(kokugen, url)
    assert (code, told["durability"][0]) == (1, "problem")
    assert "fsync off" in told["durability"][1]


def test_kokugen_does_without_the_servers_synchronous_commit(
    kokugen: CommandLine, durable: PostgresServer, schema: str
) -> None:
    query(durable.url, "ALTER DATABASE postgres SET synchronous_commit = off")
    try:
        code, told = findings(kokugen, schema)
    finally:
        query(durable.url, "ALTER DATABASE postgres RESET synchronous_commit")
    assert (code, told["durability"][0]) == (0, "ok")
    assert "on for what kokugen writes" in told["durability"][1]


def test_a_table_that_is_never_vacuumed_is_found(kokugen: CommandLine, durable: PostgresServer, schema: str) -> None:
    query(durable.url, f'ALTER TABLE "{name_of(schema)}".task SET (autovacuum_enabled = false)')
    assert findings(kokugen, schema)[1]["autovacuum"][0] == "problem"


def name_of(url: str) -> str:
    return url.rpartition("schema=")[2]


@pytest.mark.parametrize(("span", "level"), [("1h", "ok"), ("1ms", "problem")])
def test_a_snapshot_that_was_left_open_is_found(
    kokugen: CommandLine, durable: PostgresServer, schema: str, span: str, level: str
) -> None:
    async def look() -> tuple[int, dict[str, tuple[str, str]]]:
        link = await asyncpg.connect(durable.url)
        await link.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT pg_sleep(0.05)")
        try:
            return await asyncio.to_thread(findings, kokugen, schema, "--snapshot", span)
        finally:
            await link.close()

    _, told = asyncio.run(look())
    assert told["oldest snapshot"][0] == level
    assert "idle in transaction" in told["oldest snapshot"][1]


def test_a_transaction_that_was_prepared_and_forgotten_is_found(
    kokugen: CommandLine, durable: PostgresServer, schema: str
) -> None:
    async def prepare() -> None:
        link = await asyncpg.connect(durable.url)
        await link.execute("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'forgotten'")
        await link.close()

    asyncio.run(prepare())
    try:
        code, told = findings(kokugen, schema)
    finally:
        query(durable.url, "ROLLBACK PREPARED 'forgotten'")
    assert (code, told["prepared"][0]) == (1, "problem")


def test_a_role_with_too_few_rights_is_found(kokugen: CommandLine, durable: PostgresServer, schema: str) -> None:
    role, name = f"reader_{os.getpid()}", name_of(schema)
    query(durable.url, f"CREATE ROLE {role} LOGIN")
    query(durable.url, f'GRANT USAGE ON SCHEMA "{name}" TO {role}')
    query(durable.url, f'GRANT SELECT ON ALL TABLES IN SCHEMA "{name}" TO {role}')
    code, told = findings(kokugen, schema.replace("postgres@", f"{role}@"))
    assert (code, told["rights"][0]) == (0, "warning")
    assert "attempt DELETE" in told["rights"][1]


def test_an_index_of_a_server_that_is_gone_is_found(kokugen: CommandLine, durable: PostgresServer, schema: str) -> None:
    query(durable.url, f'DROP INDEX "{name_of(schema)}".task_waiting')
    assert findings(kokugen, schema)[1]["indexes"] == ("problem", "missing: task_waiting")


def test_a_server_that_does_not_answer_is_a_problem(kokugen: CommandLine, tmp_path: Path) -> None:
    code, told = findings(kokugen, f"postgresql://postgres@/postgres?host={tmp_path}")
    assert (code, told["store"][0]) == (1, "problem")
    assert "cannot be reached" in told["store"][1]


# -- Clocks and nodes


def node(name: str, **facts: Any) -> NodeInfo:
    now_us = SystemClock().wall_us()
    made: NodeInfo = replace(this_node(name, label=name, version="0.1.0", now_us=now_us), **facts)
    return made


def put(url: str, *nodes: NodeInfo) -> None:
    """Write nodes as they are, whatever time it is."""
    archive = open_archive(url, write=True, namespace=None)
    shape = archive.shapes()["node"]
    archive.add("node", shape, [[getattr(one, name) for name in shape.columns] for one in nodes])
    archive.commit()
    archive.close()


def leave_waiting(url: str) -> None:
    """Add tasks that are due for five minutes, two of them for a place."""
    since = datetime.now(UTC) - timedelta(minutes=5)
    with closing(Scheduler(url)) as scheduler:
        for on in ("moon", "moon", None):
            scheduler.schedule(TaskParam(work_id="fly", scheduled_time=since, on=on))


def test_tasks_that_wait_for_a_place_are_found(kokugen: CommandLine, file: str) -> None:
    assert findings(kokugen, file)[1]["places"] == ("ok", "no task waits for one")
    leave_waiting(file)
    level, said = findings(kokugen, file)[1]["places"]
    assert level == "warning"
    assert said.startswith("2 due at 'moon', the first for 3")


def test_tasks_that_wait_for_a_place_are_found_on_a_server(kokugen: CommandLine, schema: str) -> None:
    assert findings(kokugen, schema)[1]["places"] == ("ok", "no task waits for one")
    leave_waiting(schema)
    level, said = findings(kokugen, schema)[1]["places"]
    assert level == "warning"
    assert said.startswith("2 due at 'moon', the first for 3")


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (20, "warning"), (600, "problem")])
def test_a_clock_that_runs_ahead_is_found(kokugen: CommandLine, file: str, ahead_s: int, level: str) -> None:
    put(file, node("a", seen_at=SystemClock().wall_us() + ahead_s * 1_000_000))
    assert findings(kokugen, file)[1]["clocks"][0] == level


def test_versions_that_are_mixed_are_found(kokugen: CommandLine, file: str) -> None:
    put(file, node("a"), node("b", version="0.2.0"), node("c", tzdata="2020.1"))
    code, told = findings(kokugen, file)
    assert code == 0
    assert told["versions"][0] == "warning"
    assert "0.2.0 on b" in told["versions"][1]
    assert told["tzdata"][0] == "warning"
    assert "2020.1 on c" in told["tzdata"][1]


def test_nodes_that_stopped_or_are_long_gone_are_not_mixed_in() -> None:
    now_us = SystemClock().wall_us()
    stopped = node("b", version="0.2.0", tzdata="2020.1", stopped_at=now_us)
    old = node("c", version="0.2.0", tzdata="2020.1", seen_at=now_us - 25 * HOUR_US)
    assert list(mixtures([node("a"), stopped, old])) == [Finding("versions", Level.OK, "1 node, all 0.1.0")]


def test_a_worker_writes_down_its_time_zone_rules(kokugen: CommandLine, file: str) -> None:
    scheduler = Scheduler(file)
    with scheduler:
        assert [one.tzdata for one in scheduler.nodes()] == [tz_version()]


# -- What is refused


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--url", "sqlite:///no-such.db"), "there is no store"),
        (("--url", "memory://"), "memory"),
        (("--url", "mysql://host/db"), "not a store"),
        (("--snapshot", "soon"), "not a span"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(kokugen: CommandLine, words: tuple[str, ...], reason: str) -> None:
    kokugen.done("migrate")
    assert reason in kokugen.refused("doctor", *words)


def test_a_schema_that_is_not_there_is_refused(kokugen: CommandLine, durable: PostgresServer) -> None:
    assert "there is no store" in kokugen.refused("doctor", "--url", store_url(durable.url, "nowhere"))
