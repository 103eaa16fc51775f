"""A command runs only where it is allowed, with arguments of the form that was allowed, and never outlives its time."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from kokugen.codec import RESULT_MAX
from kokugen.errors import (
    CodecError,
    CommandFailedError,
    CommandRefusedError,
    DuplicateWorkError,
    OptionError,
    WorkArgumentsError,
)
from kokugen.options import Options
from kokugen.registry import protocol
from kokugen.registry.commands import CommandRegistry, CommandWork
from kokugen.registry.template import Arg
from kokugen.repository.rows import Claimed
from kokugen.run import Interrupt, Run, Signal, bind_run, unbind_run

PYTHON = str(Path(sys.executable).absolute())
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"
ANYTHING = Arg(pattern=r"(?s).*")


def python(source: str, *template: str, **limits: Any) -> CommandWork:
    """A command that runs Python source."""
    literal = source.replace("{", "{{").replace("}", "}}")
    return CommandRegistry().allow("py", PYTHON, "-ISc", literal, *template, **limits)


def run(work: CommandWork, **values: Any) -> dict[str, Any]:
    """Run it as the engine does: with arguments that were stored."""
    result: dict[str, Any] = work.call(*work.decode(work.encode((), values)))
    return result


def shown(work: CommandWork, **values: Any) -> Any:
    return json.loads(run(work, **values)["output"])


# -- H11: in the seed's command registry no list meant that all is allowed, and any denial that all is denied


def test_h11_without_an_entry_no_command_is_allowed() -> None:
    commands = CommandRegistry()
    assert [commands.load(name) for name in ("ls", "/bin/sh", "sh", PYTHON, "")] == [None] * 5
    assert commands.work_ids() == frozenset()


def test_h11_allowing_one_command_allows_no_other() -> None:
    commands = CommandRegistry()
    allowed = commands.allow("show", PYTHON, "-V")
    assert [commands.load(name) for name in ("show", PYTHON, "python", "SHOW", "show ")] == [allowed] + [None] * 4


def test_h11_what_is_refused_of_one_command_denies_nothing_else() -> None:
    commands = CommandRegistry()
    first = commands.allow("first", PYTHON, "{a}")
    second = commands.allow("second", PYTHON, "{a}", args={"a": Arg(pattern="x")})
    with pytest.raises(CommandRefusedError):
        second.encode((), {"a": "y"})
    with pytest.raises(OptionError):
        commands.allow("third", "relative/path")
    assert first.encode((), {"a": "y"})
    assert second.encode((), {"a": "x"})
    assert commands.work_ids() == {"first", "second"}


# -- Allowing


def test_a_command_is_work_like_any_other() -> None:
    commands = CommandRegistry()
    work = commands.allow("show", PYTHON, "{a}", options=Options(queue="cpu"))
    assert isinstance(work, protocol.Work)
    assert isinstance(commands, protocol.ListedWorkRegistry)
    assert (work.id, work.is_async, work.options(priority=2).declared.queue) == ("show", False, "cpu")


def test_a_work_id_is_allowed_once() -> None:
    commands = CommandRegistry()
    commands.allow("show", PYTHON)
    with pytest.raises(DuplicateWorkError, match=r"command .*python"):
        commands.allow("show", PYTHON, "-V")


@pytest.mark.parametrize("path", ["python3", "./python3", "", "/no/such/program", "/", __file__])
def test_a_path_that_is_no_absolute_program_is_refused(path: str) -> None:
    with pytest.raises(OptionError, match="absolute path"):
        CommandRegistry().allow("x", path)


@pytest.mark.parametrize("name", ["run.bat", "run.CMD"])
def test_a_program_that_a_shell_would_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch(0o755)
    with pytest.raises(OptionError, match="shell"):
        CommandRegistry().allow("x", tmp_path / name)


@pytest.mark.parametrize(
    "argument", ["{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{a", "a}", "{a b}", "{a:{b}}", "\0"]
)
def test_a_placeholder_is_a_name_and_nothing_more(argument: str) -> None:
    with pytest.raises(OptionError, match="template"):
        CommandRegistry().allow("x", PYTHON, argument)


@pytest.mark.parametrize(
    "limits",
    [
        {"timeout": timedelta(0)},
        {"timeout": timedelta(days=31)},
        {"cwd": "relative"},
        {"cwd": "/no/such/folder"},
        {"user": "no-such-user"},
        {"user": "no\0body"},
        {"user": 65534},
        {"env": {"A=B": "c"}},
        {"env": {"A": "b\0"}},
        {"output_max": 0},
        {"output_max": 1 << 30},
        {"args": {"b": Arg()}},
    ],
    ids=str,
)
def test_a_limit_that_is_not_allowed_is_refused(limits: Any) -> None:
    with pytest.raises(OptionError):
        CommandRegistry().allow("x", PYTHON, "{a}", **limits)


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="regular expression"):
        Arg(pattern="(")


# -- Arguments


def test_each_placeholder_fills_one_argument_or_a_part_of_one() -> None:
    work = python(SHOW, "--size={w}x{h}", "{name}", "{{w}}", args={"name": ANYTHING})
    assert shown(work, w=3, h=4.5, name="a b; $HOME")[0] == ["--size=3x4.5", "a b; $HOME", "{w}"]


@pytest.mark.parametrize(
    "value",
    ["; id", "$(id)", "`id`", "| cat", "> /tmp/x", "&& id", "a\nb", "*", "~", "%PATH%", "'", '"', "\\", "{w}", ""],
)
def test_nothing_in_a_value_is_interpreted(value: str) -> None:
    work = python(SHOW, "{a}", args={"a": ANYTHING})
    assert shown(work, a=value)[0] == [value]


@pytest.mark.parametrize(
    ("arg", "value", "allowed"),
    [
        (Arg(), "photo_1.jpg", True),
        (Arg(), 640, True),
        (Arg(), -5, False),
        (Arg(dash=True), -5, True),
        (Arg(), "--help", False),
        (Arg(), "a/b", False),
        (Arg(), "a b", False),
        (Arg(), "", False),
        (Arg(), "a" * 4096, True),
        (Arg(), "a" * 4097, False),
        (Arg(), "٣", False),
        (Arg(), True, False),
        (Arg(), None, False),
        (Arg(), ["a"], False),
        (Arg(pattern=r"\d+"), "٣", False),
        (Arg(pattern=r"\d+"), "12\n", False),
        (Arg(pattern=r"\d+"), "12", True),
        (Arg(kind=int), "12", False),
        (Arg(kind=int), 12, True),
        (Arg(kind=str), 12, False),
        (ANYTHING, "a\0b", False),
        (ANYTHING, "-rf", False),
        (Arg(pattern=".*", dash=True), "-rf", True),
    ],
    ids=repr,
)
def test_a_value_is_allowed_only_by_its_type_and_pattern(arg: Arg, value: Any, allowed: bool) -> None:
    work = CommandRegistry().allow("x", PYTHON, "{a}", args={"a": arg})
    if allowed:
        assert work.decode(work.encode((), {"a": value})) == ((), {"a": value})
        return
    with pytest.raises(CommandRefusedError, match="'a'"):
        work.encode((), {"a": value})
    with pytest.raises(CodecError, match="not allowed"):
        work.decode(json.dumps({"kwargs": {"a": value}}))
    with pytest.raises(CommandRefusedError):
        work.call((), {"a": value})


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("x",), {}), ((), {"a": "x", "b": "y"}), ((), {"b": "x"})])
def test_arguments_are_the_placeholders_by_name(args: Any, kwargs: Any) -> None:
    with pytest.raises(WorkArgumentsError):
        CommandRegistry().allow("x", PYTHON, "{a}").encode(args, kwargs)


# -- Running


def test_the_result_is_the_exit_status_and_the_output() -> None:
    assert run(python("import sys; print('out', flush=True); sys.stderr.write('err')")) == {
        "returncode": 0,
        "output": f"out{os.linesep}err",
    }


def test_another_exit_status_is_an_error_with_the_end_of_the_output() -> None:
    with pytest.raises(CommandFailedError, match="exit status 3: oh no") as caught:
        run(python("import sys; print('oh no'); sys.exit(3)"))
    assert (caught.value.returncode, caught.value.output.strip()) == (3, "oh no")


def test_the_environment_and_the_folder_are_what_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LD_PRELOAD", "")
    _, environment, folder = shown(python(SHOW, env={"MINE": "1"}, cwd=tmp_path))
    assert environment.keys() - {"LC_CTYPE", "SYSTEMROOT", "__CF_USER_TEXT_ENCODING"} == {"PATH", "LANG", "MINE"}
    assert Path(folder) == tmp_path.resolve()


def test_the_output_is_capped_and_the_program_not_held_up() -> None:
    result = run(python("print('a' * 5_000_000 + 'end', end='')", output_max=100))
    assert result["output"].endswith("a" * 97 + "end")
    assert len(result["output"]) < 120


def test_any_output_fits_into_a_result() -> None:
    work = python("import os; os.write(1, b'\\1' * 60_000)")
    text = work.encode_result(run(work))
    assert text is not None
    assert len(text) <= RESULT_MAX


def test_a_program_that_takes_too_long_is_killed() -> None:
    output = ""
    for seconds in (0.5, 4, 32, 75):  # on a slow machine it may be over before it begins
        work = python("print('begun', flush=True); import time; time.sleep(600)", timeout=timedelta(seconds=seconds))
        with pytest.raises(CommandFailedError, match="stopped: it took longer") as caught:
            run(work)
        output = caught.value.output
        if output.startswith("begun"):
            break
    assert output.startswith("begun")


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-ISc', 'import time; time.sleep(60)'])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds; one that only waits to be reaped has ended."""
    return any(ended(pid) or Event().wait(0.01) for _ in range(1_000))


def ended(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "ZX"
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_the_whole_family_is_killed_even_if_it_ignores_the_polite_signal() -> None:
    pids: list[int] = []
    for seconds in (1, 5, 25, 75):  # on a slow machine it may be over before the family is there
        with pytest.raises(CommandFailedError, match="it took longer") as caught:
            run(python(FAMILY, timeout=timedelta(seconds=seconds)))
        pids = [int(word) for word in caught.value.output.split("\n")[0].split() if word.isdigit()]
        if len(pids) == 2:
            break
    assert [gone(pid) for pid in pids] == [True, True]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("output", ["None", "subprocess.DEVNULL"], ids=["with its output", "with none"])
def test_what_a_program_leaves_behind_is_killed_with_it(output: str) -> None:
    child = f"[sys.executable, '-ISc', 'import time; time.sleep(60)'], stdout={output}, stderr={output}"
    source = f"import subprocess, sys; print(subprocess.Popen({child}).pid)"
    output = run(python(source))["output"]
    assert gone(int(output))


@pytest.fixture
def under_way() -> Iterator[Run]:
    values = {"id": "a", "work_id": "py", "param": "{}", "queue": "q", "tags": None, "options": None}
    numbers = dict.fromkeys(
        ("mode", "scheduled_time", "due_at", "attempt", "max_attempts", "lost", "max_lost", "fence"), 1
    )
    task = Claimed(**values, **numbers)  # type: ignore[arg-type]
    run = Run(task, "nonce", python("0"), stopping=Signal(), trusted_until_s=0.0, not_before_us=0)
    token = bind_run(run)
    yield run
    unbind_run(token)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_cancelled_run_kills_its_command(under_way: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "begun"
    os.mkfifo(fifo)
    work = python(f"open({str(fifo)!r}, 'w').write('x'); import time; time.sleep(60)")

    def cancel_once_begun() -> None:
        fifo.read_text(encoding="utf-8")
        under_way.ask_to_stop(Interrupt.CANCEL, "no longer wanted")

    Thread(target=cancel_once_begun, daemon=True).start()
    with pytest.raises(CommandFailedError, match="stopped: cancelled: no longer wanted"):
        run(work)


def test_a_run_that_was_cancelled_before_kills_at_once(under_way: Run) -> None:
    under_way.ask_to_stop(Interrupt.CANCEL)
    with pytest.raises(CommandFailedError, match="cancelled"):
        run(python("import time; time.sleep(60)"))


# -- Escapes

SEED = 20261224
MARKS = [
    ";",
    "|",
    "&",
    "$(",
    "`",
    "\n",
    "\r",
    "\0",
    ">",
    "<",
    " ",
    "\t",
    "'",
    '"',
    "\\",
    "/",
    "../",
    "*",
    "?",
    "~",
    "!",
]
MARKS += [
    "{",
    "}",
    "{b}",
    "%s",
    "%n",
    "\u2028",
    "\u00a0",
    "\uff0d",
    "\u202e",
    "=",
    "#",
    "^",
    "-",
    "--",
    "\x1b[0m",
    "\ud7ff",
]
WORDS = ["id", "rm -rf", "/bin/sh", "etc/passwd", "PATH", "1", "a.jpg", "exec", "help", "config"]
NAMES = ["a", "b", "path", "executable", "shell", "env", "cwd", "args", "self", "timeout", "__class__", "template"]
IDS = ["/bin/sh", "sh", "../show", "show/../sh", "show;id", "show\0", "SHOW", "sho", "show2", "{a}", ""]


def escapes(chance: random.Random) -> Iterator[tuple[str, str]]:
    """Work ids and stored arguments that try to be more than a value: 500 of them."""
    for _ in range(500):
        value: Any = "".join(chance.choice(MARKS + WORDS) for _ in range(chance.randrange(1, 5)))
        value = chance.choice([value, value, value, value, [value], {"a": value}, None, True, "-" + value])
        kwargs = {"a": value, "b": "x"} | ({chance.choice(NAMES): value} if chance.random() < 0.5 else {})
        stored: dict[str, Any] = {"kwargs": kwargs} | ({"args": [value]} if chance.random() < 0.2 else {})
        yield chance.choice([*IDS, *["show"] * 40]), json.dumps(stored)


def test_no_escape_of_five_hundred_changes_what_is_run() -> None:
    commands = CommandRegistry()
    commands.allow("show", PYTHON, "--a={a}", "{b}", "--end")
    outcomes = [attempted(commands, work_id, stored) for work_id, stored in escapes(random.Random(SEED))]
    passed = [arguments for arguments in outcomes if arguments is not None]
    assert len(outcomes) == 500
    assert len(passed) < 60
    for arguments in passed:
        assert (len(arguments), arguments[0][:4], arguments[2]) == (3, "--a=", "--end")
        assert not set("".join(arguments)) & set(";|&$`\n\r\0<> \t'\"\\/*?~!{}%#^\u2028\u00a0\u202e\x1b")
        assert not arguments[1].startswith("-")


def attempted(commands: CommandRegistry, work_id: str, stored: str) -> list[str] | None:
    """The arguments that a program would be run with, or None where it is refused."""
    work = commands.load(work_id)
    if work is None:
        return None
    assert isinstance(work, CommandWork)
    try:
        _, values = work.decode(stored)
    except CodecError:
        return None
    return work.fn.template.filled(values)
