"""A server that is missing is a skip for those who have none, and a failure where everything has to be tested."""

from __future__ import annotations

import pytest

from tests.servers.fixtures import missing
from tests.servers.postgres import MissingServer, installed


def test_without_a_server_its_tests_are_skipped_and_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(MissingServer) as error:
        installed(1)
    with pytest.raises(pytest.skip.Exception, match="install postgresql-1"):
        missing(error.value)


def test_without_a_server_its_tests_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="there is none"):
        missing(MissingServer("there is none"))
