"""Crontabs as schedules: what is carried over, what is refused with its place, and what is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cronsim import CronSim

from kokugen.errors import InvalidEntryError
from kokugen.importers.crontab import Tab, is_of_system, read_crontabs, split_percent
from kokugen.importers.found import Found, Reading
from kokugen.recurrence import Cron
from kokugen.zones import load_zone

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TABS = {  # in the style of those that Debian's packages have
    "anacron": "SHELL=/bin/sh\nPATH=/usr/sbin:/usr/bin\n\n30 7-23 * * *   root\t[ -x /bin/true ] && true >/dev/null\n",
    "awstats": "MAILTO=root\n*/10 * * * * www-data [ -x /bin/a ] && /bin/a\n10 03 * * * www-data /bin/b\n",
    "mdadm": "57 0 * * 0 root if [ $(date +\\%d) -le 7 ]; then true; fi\n",
    "php": "09,39 *     * * *     root   true\n",
    "sysstat": "5-55/10 * * * * root true 1 1\n# twice\n59 23 * * * root true 60 2\n",
    "logcheck": "@reboot   logcheck  true -R\n2 * * * * logcheck true\n@daily\tlogcheck\ttrue\n",
    "months": "0 4 1 jan,Jul * root true\n15 14 1-7 * mon root true\n0 22 */2 */3 1-5 root true\n",
    "days": "5 4 31 * sun root true\n7 5 1,15 2-12/2 3 root true\n",
}


def read(text: str, *, name: str = "crontab", has_users: bool = False, tz: str = "Europe/Berlin") -> Reading:
    return read_crontabs([Tab(name=name, text=text, has_users=has_users)], NOW, tz)


def one(text: str, **options: object) -> Found:
    (found,) = read(text, **options).found  # type: ignore[arg-type] # the options of `read`
    return found


def times(found: Found, start: datetime, count: int) -> list[datetime]:
    assert isinstance(found.when, Cron)
    at, came = start, []
    for _ in range(count):
        at_or_none = found.when.next(at)
        assert at_or_none is not None
        at = at_or_none
        came.append(at)
    return came


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("name", TABS)
def test_a_line_comes_when_debians_cron_runs_it(name: str, zone: str) -> None:
    """A year of times, both clock changes in it."""
    reading = read(TABS[name], name=name, has_users=True, tz=zone)
    lines = [line for line in TABS[name].splitlines() if line and (line[0] in "@*" or line[0].isdigit())]
    timed = [line for line in lines if not line.startswith("@reboot")]
    assert len(reading.found) == len(timed)
    for found, line in zip(reading.found, timed, strict=True):
        expression = "0 0 * * *" if line[0] == "@" else " ".join(line.split()[:5])
        peer = CronSim(expression, NOW.astimezone(load_zone(zone)))
        asked = 366 if expression.count("*") > 2 else 40
        assert times(found, NOW, asked) == [next(peer).astimezone(UTC) for _ in range(asked)], expression


def test_settings_hold_for_the_lines_below_them() -> None:
    first, second = read("A=\"x  y\"\n0 1 * * * echo\n B = 'z' \nA=2\n0 2 * * * echo\n").found
    assert first.param.work_id != second.param.work_id
    declared = read("A=\"x  y\"\n0 1 * * * echo\n B = 'z' \nA=2\n0 2 * * * echo\n").declaration
    assert declared is not None
    assert "env={**OWN, 'A': 'x  y'}" in declared
    assert "env={**OWN, 'A': '2', 'B': 'z'}" in declared


def test_settings_of_cron_are_not_the_commands() -> None:
    declared = read("MAILTO=ann\nCRON_TZ=UTC\nRANDOM_DELAY=5\nLOGNAME=root\nUSER=root\n0 1 * * * echo\n").declaration
    assert declared is not None
    assert declared.endswith(
        "    env=OWN,\n)\n\nscheduler = Scheduler(works=commands)  # of the store that KOKUGEN_URL names\n"
    )


def test_a_zone_of_its_own_is_the_zone_of_the_times() -> None:
    tokyo, berlin = read("CRON_TZ=Asia/Tokyo\n0 9 * * * echo\nCRON_TZ=Europe/Berlin\n0 9 * * * echo\n").found
    assert (tokyo.when, berlin.when) == (Cron("0 9 * * *", tz="Asia/Tokyo"), Cron("0 9 * * *", tz="Europe/Berlin"))


def test_the_zone_of_the_command_is_not_that_of_the_times() -> None:
    found = one("TZ=Asia/Tokyo\n0 9 * * * echo\n")
    assert found.when == Cron("0 9 * * *", tz="Europe/Berlin")
    assert "TZ is for the command alone" in found.notes[0]


def test_a_line_is_run_as_cron_would_never_late_and_never_twice() -> None:
    found = one("0 9 * * * echo\n")
    assert (found.options.catchup, found.options.overlap) == ("skip", "allow")
    assert (found.param.mode, found.param.start_within) == ("at_most_once", timedelta(minutes=5))
    assert found.param.param is None


def test_what_another_user_runs_waits_on_a_queue_of_that_user() -> None:
    found = one("0 9 * * * www-data echo\n", name="shop", has_users=True)
    assert found.param.queue == "cron.www-data"
    assert found.notes == ("it is on the queue cron.www-data: run a worker of that queue as www-data",)
    assert one("0 9 * * * echo\n").param.queue is None


def test_a_name_stays_with_its_command_wherever_the_line_moves() -> None:
    before = [found.name for found in read("0 1 * * * /bin/a\n0 2 * * * /bin/b\n0 3 * * * /bin/a\n").found]
    after = [found.name for found in read("# new\n7 7 * * * /bin/c\n0 5 * * * /bin/b\n0 1 * * * /bin/a\n").found]
    assert before[:2] == [after[2], after[1]]
    assert before[2] == f"{before[0]}-2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail ann%Hello%%bye", ("mail ann", "Hello\n\nbye\n")),
        (r"date +\%d", ("date +%d", None)),
        (r"a%b\%c%", ("a", "b%c\n")),
        (r"a\\%b", (r"a\\", "b\n")),
        (r"sed s/\s\1/\\x/", (r"sed s/\s\1/\\x/", None)),
        ("a%", ("a", "")),
    ],
)
def test_a_percent_is_where_what_it_reads_begins(text: str, expected: tuple[str, str | None]) -> None:
    assert split_percent(text) == expected


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [
        ("10~50 * * * *", range(10, 51)),
        ("~ * * * *", range(60)),
        ("5~ 3 * * *", range(5, 60)),
        ("~30/10 * * * *", range(31)),
        ("0 ~6 1~28 * *", range(1)),
    ],
)
def test_a_random_time_is_one_and_stays(expression: str, minutes: range) -> None:
    found = one(f"{expression} /bin/a\n")
    assert found.when == one(f"# moved\n{expression} /bin/a\n").when
    assert isinstance(found.when, Cron)
    assert found.when.key == found.param.work_id
    assert times(found, NOW, 1)[0].astimezone(load_zone("Europe/Berlin")).minute in minutes


def test_random_delay_is_jitter() -> None:
    assert one("RANDOM_DELAY=45\n0 9 * * * echo\n").options.jitter == timedelta(minutes=45)


def test_the_dash_that_keeps_it_out_of_the_log_is_told_of() -> None:
    found = one("-*/15 * * * * echo\n")
    assert found.when == Cron("*/15 * * * *", tz="Europe/Berlin")
    assert "means nothing here" in found.notes[0]


def test_no_mail_and_no_background_are_told_of() -> None:
    found = one("MAILTO=ann@example.org\n0 9 * * * /bin/a &\n")
    assert "no mail goes to ann@example.org" in found.notes[0]
    assert "without the `&`" in found.notes[1]
    assert one('MAILTO=""\n0 9 * * * /bin/a\n').notes == ()


def test_reboot_and_what_never_comes_are_left_out_with_their_place() -> None:
    reading = read("@reboot echo\n0 0 30 2 * echo\n0 9 * * * echo\n", name="mine")
    assert [(left.source, left.reason.split(";")[0]) for left in reading.left_out] == [
        ("mine, line 1", "@reboot is no time: run it when your application starts"),
        ("mine, line 2", "cron expression '0 0 30 2 *', column 5: it never comes true"),
    ]
    assert len(reading.found) == 1


@pytest.mark.parametrize(
    ("line", "column", "problem"),
    [
        ("0 25 * * * echo --password=secret", 3, "'25' is not an hour"),
        ("  0 9 * * mon-xyz echo --password=secret", 15, "'xyz' is not a day of the week"),
        ("0 9 * * fri-mon echo --password=secret", 9, "ends before it begins"),
        ("0 22-2 * * * echo --password=secret", 3, "ends before it begins"),
        ("5/15 * * * * echo --password=secret", 1, "has a step and no range"),
        ("*/0 * * * * echo --password=secret", 3, "'0' is not a step"),
        ("0 9 L * * echo --password=secret", 5, "'L' is not a day of the month of cron"),
        ("0 9 * * 5#2 echo --password=secret", 9, "is not a day of the week of cron"),
        ("H 9 * * * echo --password=secret", 1, "is not a minute of cron"),
        ("0 9 ? * * echo --password=secret", 5, "is not a day of the month of cron"),
        ("1,,2 9 * * * echo --password=secret", 3, "'' is not a minute of cron"),
        ("0 9 * *", 8, "there are 4 of 5 fields"),
        ("-", 2, "there are 0 of 5 fields"),
        ("@every 5m echo --password=secret", 1, "'@every' is not known"),
        ("50~10 * * * * echo --password=secret", 1, "ends before it begins"),
    ],
)
def test_what_cron_refuses_is_refused_with_line_and_column(line: str, column: int, problem: str) -> None:
    with pytest.raises(InvalidEntryError) as refused:
        read(f"# one\n0 1 * * * /bin/a\n{line}\n", name="mine")
    assert str(refused.value).startswith("mine, line 3: ")
    assert f"column {column}: " in str(refused.value)
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 9 * * *\n", "line 1: there is no command"),
        ('A="x\n', "is not closed by the quote"),
        ("CRON_TZ=Mars/Base\n", "is no time zone"),
        ("RANDOM_DELAY=soon\n0 9 * * * echo\n", "is no number of minutes"),
        ("0 9 * * * a\0b\n", "line 1: it holds '.x00'"),
        ("0 9 * * * a\r\n", "line 1: it holds '.r'"),
    ],
)
def test_other_mistakes_are_refused_with_their_line(text: str, problem: str) -> None:
    with pytest.raises(InvalidEntryError, match=problem):
        read(text)


def test_a_line_of_the_system_without_a_user_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="there is no user and command"):
        read("0 9 * * * echo\n", has_users=True)


@pytest.mark.parametrize("step", ["*/90", "10-20/60"])
def test_a_step_beyond_the_range_is_its_first_value_alone(step: str) -> None:
    found = one(f"{step} 9 * * * echo\n", tz="UTC")
    assert [at.minute for at in times(found, NOW, 2)] == [0 if step[0] == "*" else 10] * 2


def test_the_path_says_whether_lines_name_users() -> None:
    assert is_of_system("/etc/cron.d/php")
    assert is_of_system("/etc/crontab")
    assert not is_of_system("/home/ann/crontab")
