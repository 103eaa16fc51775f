"""The code that allows the commands of crontabs: it runs what the lines say, as cron would, and nothing before that."""

from __future__ import annotations

import os
import runpy
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kokugen.errors import CommandFailedError
from kokugen.importers.crontab import Tab, read_crontabs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="crontabs are of POSIX systems")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def own_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def module_of(text: str, tmp_path: Path, **tab: Any) -> dict[str, Any]:
    reading = read_crontabs([Tab(name="crontab", text=text, **tab)], NOW, "UTC")
    assert reading.declaration is not None
    path = tmp_path / "commands.py"
    path.write_text(reading.declaration, encoding="utf-8")
    return runpy.run_path(str(path)) | {"ids": [found.param.work_id for found in reading.found]}


def output_of(text: str, tmp_path: Path) -> str:
    module = module_of(text, tmp_path)
    (work_id,) = module["ids"]
    output: str = module["commands"].load(work_id)()["output"]
    return output


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("echo one two", "one two\n"),
        ("/bin/echo plain -x=1", "plain -x=1\n"),
        ("cat%first%second", "first\nsecond\n"),
        ("cat %", ""),
        (r"printf '\%s\n' a; printf b", "a\nb"),
        ("echo $((1 + 1)) {a,b} '{x}'", "2 {a,b} {x}\n"),
        ('echo "it\'s" \'a"b\' """', None),
        ("true && echo yes || echo no", "yes\n"),
        ("echo ground &", "ground\n"),
        ('echo "$A-$B"', "x  y-\n"),
        ("echo $SHELL $0", "/bin/sh /bin/sh\n"),
        ('cd "$HOME" && [ "$PWD" = "$(pwd)" ] && echo home', "home\n"),
    ],
)
def test_a_command_does_what_its_line_says(line: str, printed: str | None, tmp_path: Path) -> None:
    text = f'A="x  y"\n0 1 * * * {line}\n'
    if printed is None:
        with pytest.raises(CommandFailedError):
            output_of(text, tmp_path)
    else:
        assert output_of(text, tmp_path) == printed


def test_a_command_that_reads_ends_as_it_does(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match="exit status 3"):
        output_of("0 1 * * * read line; exit 3%x\n", tmp_path)


def test_a_shell_of_its_own_runs_the_line(tmp_path: Path) -> None:
    assert output_of("SHELL=/bin/cat\n0 1 * * * /bin/echo x\n", tmp_path) == "x\n", "it needs no shell"
    with pytest.raises(CommandFailedError):  # cat knows no -c
        output_of("SHELL=/bin/cat\n0 1 * * * echo x; echo y\n", tmp_path)


def test_a_plain_command_that_is_there_needs_no_shell(tmp_path: Path) -> None:
    reading = read_crontabs([Tab(name="crontab", text="0 1 * * * /bin/echo a b\n0 2 * * * /no/such a\n")], NOW, "UTC")
    assert reading.declaration is not None
    assert "    '/bin/echo',\n    'a',\n    'b',\n" in reading.declaration
    assert "    '/bin/sh',\n    '-c',\n    '/no/such a',\n" in reading.declaration


def test_a_line_of_another_user_is_allowed_to_that_user_alone(tmp_path: Path) -> None:
    text = f"0 1 * * * {own_name()} echo mine\n0 2 * * * no-such-user echo theirs\n"
    module = module_of(text, tmp_path, has_users=True)
    assert module["commands"].work_ids() == {module["ids"][0]}


def test_nothing_is_run_by_being_imported_or_declared(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    module = module_of(f"0 1 * * * /usr/bin/touch {marker}\n0 2 * * * echo > {marker}\n", tmp_path)
    assert not marker.exists()
    module["commands"].load(module["ids"][1])()
    assert marker.exists(), "it would have been seen"


def test_no_line_can_write_other_code_than_its_own(tmp_path: Path) -> None:
    """Quotes, braces and escapes in a line, its settings and its user are text of the declaration, and nothing else."""
    evil = "'\"\"\" + __import__('os').system('touch " + str(tmp_path / "marker") + "') #{0}\\"
    text = f"A=x{evil}\n0 1 * * * {evil}x{evil} echo \u2028 {evil}\n"
    assert len(module_of(text, tmp_path)["commands"].work_ids()) == 1
    system = f"A=x{evil}\n0 1 * * * {own_name()} echo {evil}\n"
    assert len(module_of(system, tmp_path, has_users=True)["commands"].work_ids()) == 1
    assert not (tmp_path / "marker").exists()
