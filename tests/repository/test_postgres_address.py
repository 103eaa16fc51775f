"""The URL of a PostgreSQL store: what is kokugen's own in it, what is refused, and that no password is ever told."""

from __future__ import annotations

import pytest

from kokugen.clock import SystemClock
from kokugen.errors import OptionError
from kokugen.repository.locate import mask, open_repository
from kokugen.repository.postgres.address import parse

PASSWORDS = [
    "postgresql://ann:secret@host/db",
    "postgresql://ann:secret@host:5432/db?schema=s",
    "postgresql://ann:p%40secret@host/db",
    "postgresql://ann:se@cret-secret@host/db",
    "postgresql://host/db?user=ann&password=secret",
    "postgresql://host/db?PASSWORD=x&password=secret&sslmode=require",
    "postgresql://host/db?sslpassword=secret",
    "postgresql://host/db?%70assword=secret",
]


MEANINGLESS = [
    "pooled=maybe",
    "timeout=0",
    "timeout=x",
    "timeout=-1",
    "timeout=nan",
    "timeout=1e9",
    "schema=a&schema=b",
    "x",
]


def test_a_url_names_server_schema_and_the_way_there() -> None:
    address = parse("postgresql://ann:pw@host:5433/shop?schema=jobs&pooled=true&timeout=1.5&sslmode=require")
    assert address.dsn == "postgresql://ann:pw@host:5433/shop?sslmode=require"
    assert (address.schema, address.quoted, address.pooled, address.timeout_s) == ("jobs", '"jobs"', True, 1.5)


def test_what_a_url_leaves_out_has_its_default() -> None:
    address = parse("postgres://host/shop")
    assert address.dsn == "postgresql://host/shop"
    assert (address.schema, address.pooled, address.timeout_s) == ("kokugen", False, 4.0)


@pytest.mark.parametrize("url", PASSWORDS)
def test_a_password_is_not_shown_wherever_it_stands(url: str) -> None:
    assert "secret" not in mask(url)
    assert "***" in mask(url)
    assert parse(url).url == mask(url)


@pytest.mark.parametrize(
    "url", ["postgresql:/ann:secret@host/db", "postgres//ann:secret@host", "ann:se:secret@host/db"]
)
def test_a_password_in_a_misspelt_url_is_not_shown_either(url: str) -> None:
    with pytest.raises(OptionError) as refused:
        open_repository(url, namespace="default", clock=SystemClock())
    assert "secret" not in str(refused.value)
    assert "ann" in str(refused.value)
    assert "host" in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@host:abc/db",
        "postgresql://ann:secret@one:5432,two:x/db",
        "postgresql://ann:secret@[::1]:x/db",
        "postgresql://ann:secret@host/db?port=x",
        "postgresql://ann:secret@host:65536/db",
    ],
)
def test_what_is_no_port_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match=r"names the port '?[a-z0-9]+'?: use 1 to 65535"):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann@[::1]/db",
        "postgresql://ann@one:5432,[::1]:5433/db",
        "postgresql://ann@/db?host=/run&port=5433",
    ],
)
def test_ports_and_addresses_of_all_kinds_are_let_through(url: str) -> None:
    assert parse(url).dsn.partition("?")[0] == url.partition("?")[0]


@pytest.mark.parametrize("url", ["postgresql://host/db?schema=s&host=/run/x", "sqlite:///a?b=c@d.db", "nonsense"])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert mask(url) == url


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a b", 'a"b', "a;b", "ü", "a" * 49, "pg_mine", "a.b"])
def test_a_schema_of_another_spelling_is_refused(name: str) -> None:
    from urllib.parse import quote

    with pytest.raises(OptionError, match="schema="):
        parse(f"postgresql://ann:secret@host/db?schema={quote(name)}")


@pytest.mark.parametrize("name", ["a", "_", "a1_b", "a" * 48])
def test_a_schema_may_be_called_so(name: str) -> None:
    assert parse(f"postgresql://host/db?schema={name}").schema == name


@pytest.mark.parametrize("query", MEANINGLESS)
def test_a_parameter_that_means_nothing_is_refused_without_telling_the_password(query: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse(f"postgresql://ann:secret@host/db?{query}")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "netloc", ["host:0", "host:65536", "u:99999@host:99999", "one:5432,two:99999", "[::1]:99999", "one:99999,two"]
)
def test_a_port_that_there_cannot_be_is_refused(netloc: str) -> None:
    with pytest.raises(OptionError, match="port"):
        parse(f"postgresql://{netloc}/db")


@pytest.mark.parametrize("netloc", ["host", "host:1", "u:99999@host:65535", "one:5432,two:5433", "[::9999]", "[::1]:5"])
def test_a_port_that_there_can_be_is_taken(netloc: str) -> None:
    assert parse(f"postgresql://{netloc}/db").dsn == f"postgresql://{netloc}/db"
