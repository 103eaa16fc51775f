"""The schema: made and brought up to date once, by whichever node comes first while the others wait.

A store that is up to date is only looked at, so that a role without the right to make tables may use it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from kokugen.errors import RepositoryError
from kokugen.repository.postgres.address import Address
from kokugen.repository.postgres.failures import too_new

WAIT_S = 300

_TABLES = "SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = $1"
_BEGIN = f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL statement_timeout = '{WAIT_S}s';
SET LOCAL lock_timeout = '{WAIT_S}s';
SET LOCAL client_min_messages = 'warning';
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('kokugen ' || $1, 0))"
_FACTS = """
INSERT INTO {schema}.meta (key, value)
SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT (key) DO UPDATE SET value = excluded.value
 WHERE excluded.key = 'schema_version' OR (excluded.key = 'min_compatible' AND meta.value::int < excluded.value::int)
"""


async def migrate(link: Any, address: Address, cluster_id: str) -> int:
    """Bring the schema up to date and return its version. Raises RepositoryError, and what asyncpg raises."""
    newest = newest_version()
    if (await stored_version(link, address) or 0) < newest:
        await _upgrade(link, address, cluster_id)
    version = await stored_version(link, address) or 0
    if version > newest and await _fact(link, address, "min_compatible") > newest:
        raise too_new(address.url, version, newest)
    return version


async def stored_version(link: Any, address: Address) -> int | None:
    """Return the version of the schema as it is; None where there is none. Raises RepositoryError for a foreign one."""
    tables = set(await link.fetchval(_TABLES, address.schema) or ())
    if not tables:
        return None
    if not tables >= {"meta", "task", "attempt"}:
        raise RepositoryError(
            f"{address.url}: the schema {address.schema} has tables of another application "
            f"({', '.join(sorted(tables)[:3])}): name a schema of its own, such as schema=kokugen"
        )
    return await _fact(link, address, "schema_version")


async def _upgrade(link: Any, address: Address, cluster_id: str) -> None:
    """Run the scripts that were not run yet; meanwhile a newer kokugen may have gone further, and that stays."""
    await link.execute(_BEGIN)
    try:
        await link.execute(_LOCK.replace("$1", f"'{address.schema}'"))
        await link.execute(f"CREATE SCHEMA IF NOT EXISTS {address.quoted}")
        version = await stored_version(link, address) or 0
        await link.execute(f"SET LOCAL search_path TO {address.quoted}")
        for number, name in _scripts():
            if number > version:
                await link.execute(files(__package__).joinpath("sql", name).read_text(encoding="utf-8"))
        reached = str(max(version, newest_version()))
        facts = {"schema_version": reached, "min_compatible": "1", "cluster_id": cluster_id}
        await link.execute(_FACTS.format(schema=address.quoted), list(facts), list(facts.values()))
        await link.execute("COMMIT")
    except BaseException:
        if not link.is_closed():
            await link.execute("ROLLBACK")
        raise


def newest_version() -> int:
    """Return the version that this kokugen makes."""
    return _scripts()[-1][0]


def _scripts() -> list[tuple[int, str]]:
    names = (one.name for one in files(__package__).joinpath("sql").iterdir() if one.name.endswith(".sql"))
    return sorted((int(name[:3]), name) for name in names)


async def _fact(link: Any, address: Address, key: str) -> int:
    found = await link.fetchval(f"SELECT value FROM {address.quoted}.meta WHERE key = $1", key)
    return int(found or 0)
