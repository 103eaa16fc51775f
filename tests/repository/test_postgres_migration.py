"""The schema of a PostgreSQL store: made once whoever comes first, beside others, and never on top of another's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kokugen.clock import SystemClock
from kokugen.errors import OptionError, RepositoryError, SchemaVersionError
from kokugen.repository.locate import open_repository, stored_version
from kokugen.repository.postgres import PostgresRepository, migration
from kokugen.repository.postgres.address import Address
from kokugen.repository.rows import NewTask
from kokugen.task import TaskQuery
from kokugen.testing.suite.lab import ask
from tests.servers.stores import query, store_url


@pytest.fixture
def url(postgres: str, tmp_path: Path) -> str:
    return store_url(postgres, tmp_path)


def schema_of(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


def test_many_nodes_that_start_together_make_one_store(postgres: str, url: str) -> None:
    repositories = [PostgresRepository(url) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(PostgresRepository.open, repositories))
    for one in repositories:
        assert ask(one.health()).schema_version == 7
        one.close()
    facts = query(postgres, f"SELECT count(DISTINCT value) FROM {schema_of(url)}.meta WHERE key = 'cluster_id'")
    assert facts[0][0] == 1


def test_many_nodes_that_start_together_bring_an_old_store_up_to_date_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = migration._scripts()
    with monkeypatch.context() as patch:
        patch.setattr(migration, "_scripts", lambda: scripts[:1])
        old = PostgresRepository(url)
        old.open()
        old.close()
    assert stored_version(url) == 1
    repositories = [PostgresRepository(url) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(PostgresRepository.open, repositories))
    assert [ask(one.health()).schema_version for one in repositories] == [scripts[-1][0]] * 12
    for one in repositories:
        one.close()


def test_a_store_tells_its_version_and_one_that_is_not_there_is_not_made_by_a_look(url: str) -> None:
    assert stored_version(url) is None
    assert stored_version(url) is None
    repository = PostgresRepository(url)
    repository.open()
    repository.close()
    assert stored_version(url) == 7


def test_two_schemas_of_one_database_are_two_stores(postgres: str, tmp_path: Path) -> None:
    first, second = (PostgresRepository(store_url(postgres, tmp_path / name)) for name in "ab")
    ask(first.add([NewTask(id="a", work_id="w", due_at=1, scheduled_time=1)]))
    assert (ask(first.count(TaskQuery())), ask(second.count(TaskQuery()))) == (1, 0)
    first.close()
    second.close()


def test_the_schema_of_another_application_is_left_alone(postgres: str, url: str) -> None:
    query(postgres, f"CREATE SCHEMA {schema_of(url)}")
    query(postgres, f"CREATE TABLE {schema_of(url)}.task (theirs text)")
    with pytest.raises(RepositoryError, match="another application"):
        PostgresRepository(url).open()
    with pytest.raises(RepositoryError, match="another application"):
        stored_version(url)
    tables = query(postgres, "SELECT tablename FROM pg_tables WHERE schemaname = $1", schema_of(url))
    assert [name for (name,) in tables] == ["task"]


def test_an_empty_schema_may_be_used(postgres: str, url: str) -> None:
    query(postgres, f"CREATE SCHEMA {schema_of(url)}")
    repository = PostgresRepository(url)
    repository.open()
    repository.close()


def test_a_store_of_a_newer_kokugen_is_refused_unless_it_says_that_it_is_compatible(postgres: str, url: str) -> None:
    repository = PostgresRepository(url)
    repository.open()
    repository.close()
    query(postgres, f"UPDATE {schema_of(url)}.meta SET value = '99' WHERE key = 'schema_version'")
    repository.open()
    repository.close()
    query(postgres, f"UPDATE {schema_of(url)}.meta SET value = '9' WHERE key = 'min_compatible'")
    with pytest.raises(SchemaVersionError, match="use a newer kokugen"):
        repository.open()


def test_an_upgrade_that_a_newer_kokugen_overtook_leaves_the_newer_schema_as_it_is(
    postgres: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = PostgresRepository(url)
    repository.open()
    repository.close()
    look, looks = migration.stored_version, [5]

    async def overtaken(link: Any, address: Address) -> int | None:
        if not looks:
            return await look(link, address)
        await link.execute(f"UPDATE {address.quoted}.meta SET value = '99' WHERE key = 'schema_version'")
        await link.execute(f"UPDATE {address.quoted}.meta SET value = '0' WHERE key = 'min_compatible'")
        return looks.pop()

    monkeypatch.setattr(migration, "stored_version", overtaken)
    repository.open()
    repository.close()
    assert looks == []
    assert stored_version(url) == 99
    facts = query(postgres, f"SELECT value FROM {schema_of(url)}.meta WHERE key = 'min_compatible'")
    assert facts[0][0] == "1", "what this schema needs is told"


def test_a_role_that_may_not_make_tables_uses_a_store_that_is_there(postgres: str, url: str) -> None:
    schema, role = schema_of(url), f"worker_{schema_of(url)}"
    guest = url.replace("postgres@", f"{role}@")
    query(postgres, f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(RepositoryError, match="grant its role"):
            PostgresRepository(guest).open()
        owner = PostgresRepository(url)
        owner.open()
        owner.close()
        query(postgres, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        query(postgres, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
        worker = PostgresRepository(guest)
        ask(worker.add([NewTask(id="a", work_id="w", due_at=1, scheduled_time=1)]))
        assert ask(worker.count(TaskQuery())) == 1
        worker.close()
    finally:
        query(postgres, f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        query(postgres, f"DROP ROLE {role}")


def test_a_url_of_either_spelling_is_opened(url: str) -> None:
    for one in (url, url.replace("postgresql://", "postgres://")):
        repository = open_repository(one, namespace="n", clock=SystemClock())
        assert isinstance(repository, PostgresRepository)
        assert (repository.url, repository.namespace) == (one, "n")


def test_without_its_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("kokugen.repository.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(OptionError, match=r"kokugen\[postgres\]"):
        open_repository("postgresql://h/d", namespace="n", clock=SystemClock())
    with pytest.raises(OptionError, match=r"kokugen\[postgres\]"):
        stored_version("postgresql://h/d")


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: str, url: str) -> None:
    name = f"latin_{schema_of(url)}"
    query(postgres, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(RepositoryError, match="ENCODING 'UTF8'"):
            PostgresRepository(url.replace("/postgres?", f"/{name}?")).open()
    finally:
        query(postgres, f"DROP DATABASE {name}")


def test_what_the_role_or_database_says_of_isolation_and_commits_does_not_matter(postgres: str, url: str) -> None:
    role = f"odd_{schema_of(url)}"
    query(postgres, f"CREATE ROLE {role} LOGIN SUPERUSER")
    for setting in ("default_transaction_isolation TO 'serializable'", "synchronous_commit TO off"):
        query(postgres, f"ALTER ROLE {role} SET {setting}")
    repository = PostgresRepository(url.replace("postgres@", f"{role}@"))
    try:
        repository.open()
        store = repository._store
        assert store is not None

        async def shown() -> list[str]:
            session = await store._pools["work"].take(store._background.loop.time() + 9)
            names = ("transaction_isolation", "synchronous_commit")
            found = [await session.link.fetchval(f"SHOW {name}") for name in names]
            store._pools["work"].give(session)
            return found

        assert store._background.run(shown()) == ["read committed", "on"]
    finally:
        repository.close()
        query(postgres, f"DROP OWNED BY {role} CASCADE")
        query(postgres, f"DROP ROLE {role}")
