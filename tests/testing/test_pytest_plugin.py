"""The plugin, in a pytest of its own: its fixtures are found, and cost nothing where nobody asks for them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
JOBS = """
from datetime import timedelta
from kokugen import FunctionRegistry, Scheduler

works = FunctionRegistry()
scheduler = Scheduler("sqlite:///jobs.db", works=works)
sent = []

@works.work
def remind(who: str) -> str:
    sent.append(who)
    return who

@works.work
def fail() -> None:
    raise ConnectionError("down")

def book(who):
    return scheduler.after(timedelta(days=30), remind, who)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(jobs=JOBS)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def run(project: pytest.Pytester, test: str, *more: str) -> pytest.RunResult:
    """The plugin as pytest loads it, whatever is installed here."""
    project.makepyfile(test)
    project.syspathinsert()
    only = ("-p", "no:kokugen", "-p", "no:asyncio", "-p", "no:cacheprovider", "-p", "no:xdist")
    return project.runpytest_subprocess(*only, "-p", "kokugen.pytest_plugin", *more)


def test_pytest_finds_it_by_its_entry_point() -> None:
    named = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert list(named) == ["kokugen"]
    assert import_module(named["kokugen"]).kokugen_clock is not None


def test_the_clock_and_a_scheduler_with_the_works_that_a_conftest_names(project: pytest.Pytester) -> None:
    project.makeconftest("""
        import pytest

        @pytest.fixture
        def kokugen_works():
            from jobs import works
            return works
    """)
    result = run(
        project,
        """
        from datetime import timedelta
        from jobs import remind, sent

        def test_a_month(kokugen_scheduler, kokugen_clock):
            kokugen_scheduler.after(timedelta(days=30), remind, "Ann")
            kokugen_clock.advance(days=29)
            assert sent == []
            kokugen_clock.advance(days=1)
            assert sent == ["Ann"]

        def test_the_next_test_has_a_store_of_its_own(kokugen_scheduler):
            assert kokugen_scheduler.count() == 0
    """,
    )
    result.assert_outcomes(passed=2)


def test_the_schedulers_of_an_application_are_taken_inline_and_recorded(project: pytest.Pytester) -> None:
    project.makeconftest("""
        import pytest

        @pytest.fixture(autouse=True)
        def kokugen_scheduler(kokugen_stage):
            import jobs
            return kokugen_stage.take(jobs.scheduler)
    """)
    result = run(
        project,
        """
        from datetime import timedelta
        import pytest
        from jobs import book, fail, remind, scheduler, sent
        from kokugen.testing import assert_scheduled

        def test_what_is_booked_waits():
            book("Ann")
            assert_scheduled(scheduler, remind, "Ann")

        def test_inline(kokugen_inline):
            with pytest.raises(ConnectionError):
                scheduler.after(timedelta(0), fail)

        def test_recorded(kokugen_recorder, kokugen_clock):
            book("Bob")
            kokugen_clock.advance(days=30)
            assert [run.args for run in kokugen_recorder.runs] == [("Bob",)]
            assert sent == []
    """,
    )
    result.assert_outcomes(passed=3)
    assert not (project.path / "jobs.db").exists()


def test_a_test_that_asks_for_nothing_does_not_even_import_kokugen(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
        import sys

        def test_it():
            heavy = {"kokugen.scheduler", "kokugen.testing", "msgspec", "apsw"}
            assert heavy & sys.modules.keys() == set()
    """,
    )
    result.assert_outcomes(passed=1)


def test_its_fixtures_are_described(project: pytest.Pytester) -> None:
    result = run(project, "", "--fixtures")
    result.stdout.fnmatch_lines(["*kokugen_clock*", "*advance(days=30)*"])


def test_import_kokugen_imports_no_extra() -> None:
    extras = "opentelemetry prometheus_client cryptography pytest django fastapi starlette flask sentry_sdk"
    code = f"""
import kokugen, sys
for name in kokugen.__all__: getattr(kokugen, name)
print(sorted(set({extras.split()!r}) & sys.modules.keys()))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == "[]"
