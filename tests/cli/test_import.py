"""`kokugen import`: what is shown, what is stored, what is refused; once and again."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kokugen import FunctionRegistry, Scheduler
from kokugen.cli import main
from kokugen.repository.locate import stored_version
from tests.importers.stores import make_store
from tests.servers.stores import query, store_url

from .conftest import CommandLine

CRONTAB = "MAILTO=ann\n0 9 * * mon-fri echo report\n@reboot echo up\n*/5 * * * * /bin/true\n"
WHOLE = "0 9 * * mon-fri echo report\n*/5 * * * * /bin/true\n"


@pytest.fixture
def crontab(tmp_path: Path) -> Path:
    path = tmp_path / "crontab"
    path.write_text(WHOLE, encoding="utf-8")
    return path


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    return make_store(
        tmp_path / "jobs.db",
        lambda store: store.add_job("json:dumps", "cron", hour=9, id="nightly", args=[[1]], timezone="Asia/Tokyo"),
        lambda store: store.add_job("json:loads", "interval", hours=3, id="often", args=["{}"], next_run_time=None),
    )


def written(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def test_a_crontab_becomes_schedules(kokugen: CommandLine, crontab: Path, scheduler: Scheduler) -> None:
    shown = kokugen.done("import", "crontab", str(crontab), "--tz", "Asia/Tokyo", "--by", "ann")
    assert "made       cron.echo." in shown
    assert "Cron('0 9 * * mon-fri', tz='Asia/Tokyo')" in shown
    assert "2 schedules: 2 made, 0 changed, 0 as it was; 0 left out" in shown
    assert "no worker runs these commands before its code allows them" in shown
    echo, true = scheduler.schedules()
    assert (echo.policy.catchup, echo.overlap, echo.paused) == ("skip", "allow", False)
    assert [change.who for change in scheduler.schedule_audit(true.name)] == ["ann"]
    assert all(info.attempt == 0 for info in scheduler.tasks()), "nothing is run by it, though a time may be near"


def test_the_same_import_again_changes_nothing(kokugen: CommandLine, crontab: Path, scheduler: Scheduler) -> None:
    kokugen.done("import", "crontab", str(crontab), "--tz", "UTC")
    before = scheduler.schedules()
    again = kokugen.done("import", "crontab", str(crontab), "--tz", "UTC")
    assert "2 schedules: 0 made, 0 changed, 2 as it was; 0 left out" in again
    assert scheduler.schedules() == before


def test_a_line_with_another_time_changes_its_schedule(kokugen: CommandLine, crontab: Path) -> None:
    kokugen.done("import", "crontab", str(crontab), "--tz", "UTC")
    crontab.write_text(WHOLE.replace("0 9 ", "0 10 "), encoding="utf-8")
    assert "2 schedules: 0 made, 1 changed, 1 as it was" in kokugen.done("import", "crontab", str(crontab), "--tz=UTC")
    assert len(kokugen.json("schedules")) == 2


def test_what_is_left_out_is_told_and_is_the_exit_code(kokugen: CommandLine, crontab: Path) -> None:
    crontab.write_text(CRONTAB, encoding="utf-8")
    result = kokugen("import", "crontab", str(crontab), "--tz", "UTC")
    assert result.exit_code == 1
    assert "left out   crontab, line 3: @reboot is no time: run it when your application starts" in result.stdout
    assert len(kokugen.json("schedules")) == 2


def test_a_dry_run_changes_nothing_and_needs_no_store(kokugen: CommandLine, crontab: Path, tmp_path: Path) -> None:
    target = tmp_path / "commands.py"
    words = ["import", "crontab", str(crontab), "--tz", "UTC", "--dry-run", "--declare", str(target)]
    shown = kokugen.done(*words)
    assert "dry run, nothing was changed: 2 schedules: 2 made" in shown
    assert len(re.findall(r"comes \d{4}-\d\d-\d\d \d\d:\d\d:00\.000Z, \d{4}", shown)) == 2
    assert not kokugen.path.exists()
    assert not target.exists()
    result = CliRunner().invoke(main, words, env={"KOKUGEN_URL": None})
    assert (result.exit_code, result.stdout) == (0, shown)


def test_a_dry_run_compares_with_the_store_that_is_there(kokugen: CommandLine, crontab: Path) -> None:
    kokugen.done("import", "crontab", str(crontab), "--tz", "UTC")
    before = kokugen.json("schedules")
    crontab.write_text(WHOLE.replace("0 9 ", "0 10 ") + "1 1 * * * echo new\n", encoding="utf-8")
    shown = kokugen.done("import", "crontab", str(crontab), "--tz", "UTC", "--dry-run")
    assert "3 schedules: 1 made, 1 changed, 1 as it was" in shown
    assert kokugen.json("schedules") == before


def test_what_is_gone_from_the_source_is_told_and_removed_where_that_is_asked_for(
    kokugen: CommandLine, crontab: Path, scheduler: Scheduler
) -> None:
    words = ("import", "crontab", str(crontab), "--tz", "UTC")
    kokugen.done(*words)
    crontab.write_text("*/5 * * * * /bin/true\n", encoding="utf-8")
    assert re.search(r"gone +cron\.echo\.\w+  \(no longer in the source\)", kokugen.done(*words))
    assert len(scheduler.schedules()) == 2, "told, and left as it is"
    tried = kokugen.done(*words, "--dry-run", "--remove-gone")
    assert "dry run, nothing was changed: 1 schedule: 0 made, 0 changed, 1 as it was; 0 left out; 1 removed" in tried
    assert len(scheduler.schedules()) == 2
    told = kokugen.json(*words, "--remove-gone", "--by", "ann")["gone"]
    assert [(one["result"], one["name"].split(".")[1]) for one in told] == [("removed", "echo")]
    (left,) = scheduler.schedules()
    assert left.name.startswith("cron.true")
    newest = scheduler.schedule_audit(told[0]["name"])[0]
    assert (newest.what, newest.who, newest.why) == ("remove", "ann", "no longer in the source")


def test_a_source_knows_nothing_of_what_others_made(kokugen: CommandLine, crontab: Path, scheduler: Scheduler) -> None:
    other = crontab.with_name("other")
    other.write_text("1 1 * * * /bin/date\n", encoding="utf-8")
    kokugen.done("import", "crontab", str(crontab), str(other), "--tz", "UTC")
    kokugen.done("every", "@daily", "report")
    crontab.write_text("", encoding="utf-8")
    shown = kokugen.done("import", "crontab", str(crontab), "--tz", "UTC", "--remove-gone")
    assert "0 schedules: 0 made, 0 changed, 0 as it was; 0 left out; 2 removed" in shown
    assert {one.owner for one in scheduler.schedules()} == {"import:crontab:other", None}


def test_sources_of_one_kind_are_told_apart_by_a_name(kokugen: CommandLine, tmp_path: Path) -> None:
    beat = written(tmp_path / "beat.json", {"a": {"task": "shop.send", "schedule": 60}})
    other = written(tmp_path / "other.json", {"b": {"task": "shop.send", "schedule": 60}})
    kokugen.done("import", "celery", beat, "--source", "shop")
    assert "gone" not in kokugen.done("import", "celery", other, "--source", "office")
    assert "gone       a" in kokugen.done("import", "celery", other, "--source", "shop")


def test_what_is_left_out_now_is_not_gone(kokugen: CommandLine, tmp_path: Path, scheduler: Scheduler) -> None:
    entry = {"task": "shop.send", "schedule": 60}
    beat = written(tmp_path / "beat.json", {"a": entry})
    kokugen.done("import", "celery", beat)
    written(tmp_path / "beat.json", {"a": {**entry, "schedule": "<solar: sunrise>"}})
    result = kokugen("import", "celery", beat, "--remove-gone")
    assert ("left out   entry 'a'" in result.stdout, "removed" in result.stdout) == (True, False)
    assert [one.name for one in scheduler.schedules()] == ["a"]


def test_what_belongs_to_someone_stays_theirs(kokugen: CommandLine, tmp_path: Path, scheduler: Scheduler) -> None:
    works = FunctionRegistry()

    @works.work
    def send() -> None: ...

    scheduler.every(timedelta(hours=1), send.options(name="a", owner="billing"))
    beat = written(tmp_path / "beat.json", {"a": {"task": "shop.send", "schedule": 60}})
    kokugen.done("import", "celery", beat)
    assert [one.owner for one in scheduler.schedules()] == ["billing"]
    written(tmp_path / "beat.json", {})
    kokugen.done("import", "celery", beat, "--remove-gone")
    assert [one.owner for one in scheduler.schedules()] == ["billing"]


def older(path: Path) -> None:
    """Set the store back to what the first kokugen made."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")


@pytest.mark.parametrize("state", ["none", "empty", "older", "current"])
@pytest.mark.parametrize("named", ["--url", "--app"])
def test_a_dry_run_changes_no_byte_and_makes_no_file(
    kokugen: CommandLine, crontab: Path, shop: Path, state: str, named: str
) -> None:
    path = kokugen.path if named == "--url" else shop / "shop.db"
    if state in {"older", "current"}:
        kokugen.done("migrate", "--url", f"sqlite:///{path}")
    if state == "older":
        older(path)
    if state == "empty":
        path.touch()
    before = {one: one.read_bytes() for one in shop.iterdir() if one.is_file()}
    words = ["crontab", str(crontab)] if named == "--url" else ["celery", "beat.json", "--app", "shop_jobs:scheduler"]
    result = kokugen("import", *words, "--dry-run")
    after = {one: one.read_bytes() for one in shop.iterdir() if one.is_file()}
    assert after == before
    if state == "older":
        assert "a dry run changes nothing, so run `kokugen migrate` first" in result.stderr
    assert (result.exit_code == 2) is (state == "older")


@pytest.mark.parametrize("named", ["--url", "--app"])
def test_a_dry_run_makes_no_store_on_a_server_and_brings_none_up_to_date(
    kokugen: CommandLine, shop: Path, postgres: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = store_url(postgres, shop)
    schema = url.rpartition("schema=")[2]
    code = f"from kokugen import Scheduler\nscheduler = Scheduler({url!r})\n"
    (shop / "server_jobs.py").write_text(code, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "server_jobs", raising=False)
    target = (named, url if named == "--url" else "server_jobs:scheduler")
    words = ("import", "celery", written(shop / "none.json", {}), *target, "--dry-run")
    assert "dry run, nothing was changed" in kokugen.done(*words)
    assert stored_version(url) is None
    kokugen.done("migrate", "--url", url)
    query(postgres, f"UPDATE {schema}.meta SET value = '1' WHERE key = 'schema_version'")
    assert "a dry run changes nothing, so run `kokugen migrate` first" in kokugen.refused(*words)
    assert stored_version(url) == 1
    query(postgres, f"DROP SCHEMA {schema} CASCADE")


def test_json_has_everything(kokugen: CommandLine, crontab: Path) -> None:
    crontab.write_text(CRONTAB, encoding="utf-8")
    result = kokugen("import", "crontab", str(crontab), "--tz", "UTC", "--json", "--dry-run")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(one["result"], one["source"]) for one in told["schedules"]] == [
        ("made", "crontab, line 2"),
        ("made", "crontab, line 4"),
    ]
    assert told["schedules"][0]["trigger"] == {"type": "cron", "expression": "0 9 * * mon-fri"}
    assert len(told["schedules"][0]["comes"]) == 3
    assert told["left_out"][0]["source"] == "crontab, line 3"
    assert "\nallow(\n    None,\n    'cron.echo." in told["declaration"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 25 * * * echo\n", "crontab, line 2: cron expression '0 25 * * *', column 3: '25' is not an hour"),
        ("0 9 * * *\n", "crontab, line 2: there is no command"),
    ],
)
def test_a_crontab_that_cron_refuses_is_refused_as_a_whole(
    text: str, reason: str, kokugen: CommandLine, crontab: Path, tmp_path: Path
) -> None:
    crontab.write_text(f"0 9 * * * echo\n{text}", encoding="utf-8")
    target = tmp_path / "commands.py"
    assert reason in kokugen.refused("import", "crontab", str(crontab), "--tz", "UTC", "--declare", str(target))
    assert not kokugen.path.exists()
    assert not target.exists()


def test_several_files_are_one_import(kokugen: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "cron.d"
    folder.mkdir()
    (folder / "php").write_text("9 * * * * www-data echo php\n", encoding="utf-8")
    (folder / "bad").write_text("9 * * *\n", encoding="utf-8")
    (tmp_path / "mine").write_text("9 * * * * echo mine\n", encoding="utf-8")
    words = ["import", "crontab", "--tz", "UTC", str(folder / "php"), str(tmp_path / "mine")]
    assert "bad, line 1" in kokugen.refused(*words, str(folder / "bad"))
    assert "2 schedules: 2 made" in kokugen.done(*words)
    names = [one["name"] for one in kokugen.json("schedules")]
    assert [name.rpartition(".")[0] for name in names] == ["cron.echo", "cron.php"]


def test_a_crontab_comes_in(kokugen: CommandLine) -> None:
    env = {"KOKUGEN_URL": kokugen.url}
    result = CliRunner().invoke(main, ["import", "crontab", "-", "--tz", "UTC"], input=WHOLE, env=env)
    assert (result.exit_code, "2 made" in result.stdout) == (0, True)


def test_the_zone_is_the_machines_where_none_is_said(
    kokugen: CommandLine, crontab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert "tz='Asia/Tokyo'" in kokugen.done("import", "crontab", str(crontab))
    monkeypatch.setenv("TZ", "XYZ-3")
    assert "say --tz" in kokugen.refused("import", "crontab", str(crontab))


def test_the_commands_are_written_for_the_user_and_only_over_their_like(
    kokugen: CommandLine, crontab: Path, tmp_path: Path
) -> None:
    target = tmp_path / "commands.py"
    words = ["import", "crontab", str(crontab), "--tz", "UTC", "--declare"]
    assert f"{target} allows these commands" in kokugen.done(*words, str(target))
    first = target.read_text(encoding="utf-8")
    assert first in kokugen.done(*words, "-")
    crontab.write_text(WHOLE + "1 1 * * * echo new\n", encoding="utf-8")
    kokugen.done(*words, str(target))
    assert target.read_text(encoding="utf-8").count("\nallow(") == first.count("\nallow(") + 1
    target.write_text("print('mine')\n", encoding="utf-8")
    assert "there is another file" in kokugen.refused(*words, str(target))
    assert "there is no folder" in kokugen.refused(*words, str(tmp_path / "no" / "commands.py"))
    assert target.read_text(encoding="utf-8") == "print('mine')\n"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.skipif(sys.platform == "win32", reason="crontabs are of POSIX systems")
def test_an_imported_command_runs_once_its_code_is_deployed(
    kokugen: CommandLine, scheduler: Scheduler, tmp_path: Path
) -> None:
    """The whole way, with the worker and the code that the import wrote."""
    (tmp_path / "crontab").write_text("0 0 1 1 * read a; echo $a-$A%b\n", encoding="utf-8")
    target = tmp_path / "imported.py"
    kokugen.done("import", "crontab", str(tmp_path / "crontab"), "--tz", "UTC", "--declare", str(target))
    (info,) = scheduler.schedules()
    handle = scheduler.trigger(info.name)
    worker = subprocess.Popen(
        [sys.executable, "-m", "kokugen.cli", "worker", "imported:scheduler"],
        cwd=tmp_path,
        env={**os.environ, "KOKUGEN_URL": kokugen.url},
        stderr=subprocess.DEVNULL,
    )
    try:
        result = scheduler.handle(handle).result(timedelta(seconds=30))
    finally:
        worker.terminate()
        worker.wait(30)
    assert result == {"returncode": 0, "output": "b-\n"}


def test_what_is_new_is_paused_where_that_is_said(kokugen: CommandLine, crontab: Path, scheduler: Scheduler) -> None:
    kokugen.done("import", "crontab", str(crontab), "--tz", "UTC", "--paused")
    first, second = scheduler.schedules()
    assert (first.paused_note, second.paused_by) == ("imported, and not resumed yet", "kokugen")
    scheduler.resume(first.name)
    kokugen.done("import", "crontab", str(crontab), "--tz", "UTC", "--paused")
    assert [info.paused for info in scheduler.schedules()] == [False, True]


def test_jobs_of_apscheduler_become_schedules(kokugen: CommandLine, jobs: str, scheduler: Scheduler) -> None:
    shown = kokugen.done("import", "apscheduler", jobs, "--work", "json:dumps=report")
    assert "work report, of json:dumps" in shown
    assert "paused: it was paused in APScheduler" in shown
    nightly, often = scheduler.schedules()
    assert (nightly.work_id, nightly.param, nightly.paused) == ("report", '{"args":[[1]]}', False)
    assert (often.work_id, often.paused_note) == ("loads", "it was paused in APScheduler")
    assert "2 as it was" in kokugen.done("import", "apscheduler", jobs, "--work", "json:dumps=report")


def test_entries_of_celery_become_schedules(kokugen: CommandLine, tmp_path: Path, scheduler: Scheduler) -> None:
    entries = {"often": {"task": "shop.send", "schedule": 30.0}, "sun": {"task": "a.b", "schedule": "<solar: x>"}}
    file = written(tmp_path / "beat.json", {"timezone": "Asia/Tokyo", "beat_schedule": entries})
    result = kokugen("import", "celery", file)
    assert (result.exit_code, "left out   entry 'sun': the sun's times" in result.stdout) == (1, True)
    (often,) = before = scheduler.schedules()
    assert (often.name, often.work_id) == ("often", "send")
    kokugen("import", "celery", file)
    assert scheduler.schedules() == before, "a period counts on from when it was first put there"


def test_a_dump_of_django_celery_beat_becomes_schedules(kokugen: CommandLine, tmp_path: Path) -> None:
    from tests.importers.test_django_beat import dump

    file = written(tmp_path / "dump.json", dump({"crontab": 1}, {"name": "off", "interval": 1, "enabled": False}))
    assert "2 schedules: 2 made" in kokugen.done("import", "celery", file)
    assert [(one["name"], one["paused"]) for one in kokugen.json("schedules")] == [("off", True), ("send", False)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "is neither a dump of django_celery_beat nor a beat_schedule"),
        ('"x"', "is neither a dump"),
        ('{"a": 1}', "no beat_schedule"),
        ("[" * 200_000, "is no JSON"),
        ("ü", "is no text in UTF-8, in line 1"),
    ],
)
def test_a_file_that_is_none_of_celerys_is_refused(
    content: str, reason: str, kokugen: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_bytes(content.encode("latin-1"))
    assert reason in kokugen.refused("import", "celery", str(tmp_path / "x.json"))


def test_bad_input_is_refused(kokugen: CommandLine, jobs: str, tmp_path: Path, crontab: Path) -> None:
    for words, reason in (
        (["crontab", str(tmp_path / "none")], "cannot be read: No such file"),
        (["crontab", str(crontab), "--tz", "Mars/Base"], "there is no time zone 'Mars/Base'"),
        (["crontab"], "FILE..."),
        (["apscheduler", f"sqlite:///{tmp_path / 'none.db'}"], "there is no file"),
        (["apscheduler", jobs, "--table", "none"], "no such table"),
        (["apscheduler", jobs, "--work", "x"], "write OLD=ID"),
        (["celery", str(tmp_path)], "cannot be read"),
        (["cron"], "No such command 'cron'"),
    ):
        assert reason in kokugen.refused("import", *words)
    assert not kokugen.path.exists()


def test_two_of_one_name_are_refused_before_anything_is_stored(kokugen: CommandLine, tmp_path: Path) -> None:
    entries = {name: {"task": f"{name}.send", "schedule": 5} for name in ("a", "b")}
    file = written(tmp_path / "beat.json", entries)
    assert "would both be the work 'send'" in kokugen.refused("import", "celery", file)
    assert not kokugen.path.exists()
    assert "2 made" in kokugen.done("import", "celery", file, "--work", "b.send=other")


SHOP = """
    from kokugen import AsyncScheduler, Scheduler

    scheduler = Scheduler("sqlite:///shop.db", namespace="shop")
    loop_scheduler = AsyncScheduler("sqlite:///shop.db", namespace="shop")

    @scheduler.work(mode="at_most_once", queue="money", priority=2)
    def bill(order: int, *, note: str = "") -> None: ...

    @loop_scheduler.work(queue="money")
    async def bill(order: int, *, note: str = "") -> None: ...
"""
BILLS = {
    "good": {"task": "shop.bill", "schedule": 60, "args": [7]},
    "text": {"task": "shop.bill", "schedule": 60, "args": ["seven"]},
    "more": {"task": "shop.bill", "schedule": 60, "args": [7], "kwargs": {"price": 3}},
    "gone": {"task": "shop.send", "schedule": 60},
}


@pytest.fixture
def shop(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an application, with a store of its own; the command line runs in it."""
    folder = kokugen.path.parent
    (folder / "shop_jobs.py").write_text(textwrap.dedent(SHOP), encoding="ascii")
    written(folder / "beat.json", BILLS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop_jobs", raising=False)
    return folder


@pytest.mark.parametrize("name", ["scheduler", "loop_scheduler"])
def test_an_application_says_what_it_can_run_and_which_store(name: str, kokugen: CommandLine, shop: Path) -> None:
    words = ["import", "celery", "beat.json", "--app", f"shop_jobs:{name}"]
    result = kokugen(*words, "--dry-run")
    assert (result.exit_code, "1 schedule: 1 made" in result.stdout) == (1, True)
    assert not (shop / "shop.db").exists()
    shown = kokugen(*words).stdout
    assert "1 schedule: 1 made, 0 changed, 0 as it was; 3 left out" in shown
    assert "left out   entry 'gone': the application declares no work 'send'" in shown
    assert re.search("left out   entry 'text': .*int", shown)
    assert re.search("left out   entry 'more': .*price", shown)
    assert "0 made, 0 changed, 1 as it was" in kokugen(*words).stdout
    assert not kokugen.path.exists()
    scheduler = Scheduler("sqlite:///shop.db", namespace="shop")
    assert scheduler.get(scheduler.trigger("good")).queue == "money"
    scheduler.close()


def test_an_application_and_a_store_are_not_named_both(kokugen: CommandLine, shop: Path) -> None:
    words = ["import", "celery", "beat.json", "--app", "shop_jobs:scheduler", "--url", kokugen.url]
    assert "--app says which store: leave --url out" in kokugen.refused(*words)
    assert "cannot be imported" in kokugen.refused("import", "celery", "beat.json", "--app", "no_such:scheduler")


def test_import_alone_says_what_there_is(kokugen: CommandLine) -> None:
    shown = kokugen.done("import")
    assert all(source in shown for source in ("crontab", "apscheduler", "celery"))
