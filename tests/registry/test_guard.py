"""Nothing of a command outlives its node, its time or its guard: real processes, killed for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from kokugen.errors import CommandFailedError
from kokugen.registry.commands import CommandRegistry, CommandWork
from kokugen.registry.guarded import GuardedProgram

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans find their guard on Linux only")

PYTHON = str(Path(sys.executable).absolute())
PATIENCE_S = 60.0

FAMILY = """
import os, signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
STAY = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'
child = subprocess.Popen([sys.executable, '-ISc', STAY])
apart = subprocess.Popen([sys.executable, '-ISc', STAY], start_new_session=True)
orphan = subprocess.run([sys.executable, '-ISc', '''if 1:
    import subprocess, sys
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL, 'start_new_session': True}
    print(subprocess.Popen([sys.executable, '-ISc', sys.argv[1]], **quiet).pid)
''', STAY], capture_output=True, text=True, check=True).stdout
with open(sys.argv[1] + '.new', 'w') as file:
    print(os.getpid(), child.pid, apart.pid, orphan, os.getppid(), file=file)
os.rename(sys.argv[1] + '.new', sys.argv[1])
"""
"""Four processes that ignore polite signals: one in the group, one in a session of its own, and an orphan in another;
their pids, and the guard's, are written to a file."""

NODE = """
import os, sys, threading
from datetime import timedelta
from kokugen import Scheduler
from kokugen.registry.commands import CommandRegistry

commands = CommandRegistry()
source = sys.argv[1].replace("{", "{{").replace("}", "}}")
family = commands.allow("family", sys.executable, "-ISc", source, sys.argv[2])
scheduler = Scheduler("memory://", works=commands)
scheduler.start()
scheduler.after(timedelta(0), family)
if "fork" in sys.argv:
    while not os.path.exists(sys.argv[2]):
        threading.Event().wait(0.01)
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    print("forked", flush=True)
threading.Event().wait()
"""
"""A process that runs work, and perhaps forks while its command runs: the child holds all that it had open."""


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    return False


def eventually(condition: Any) -> bool:
    """Whether a condition comes true before the deadline."""
    return any(condition() or Event().wait(0.01) for _ in range(int(PATIENCE_S * 100)))


def survivors(pids: list[int]) -> list[int]:
    """The processes that are still there when the deadline has come."""
    eventually(lambda: not any(map(alive, pids)))
    return [pid for pid in pids if alive(pid)]


def pids_in(path: Path) -> list[int]:
    assert eventually(path.exists)
    return [int(word) for word in path.read_text(encoding="utf-8").split()]


def python(source: str, *arguments: str, **limits: Any) -> CommandWork:
    literals = [text.replace("{", "{{").replace("}", "}}") for text in (source, *arguments)]
    return CommandRegistry().allow("py", PYTHON, "-ISc", *literals, **limits)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    """Starts a node whose command is the family; ends it, and what is left."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [PYTHON, "-c", NODE, FAMILY + "time.sleep(600)\n", str(tmp_path / "pids"), *words]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def test_a_killed_node_takes_the_whole_family_of_its_command_along(node: Any, tmp_path: Path) -> None:
    process = node()
    pids = pids_in(tmp_path / "pids")
    assert [alive(pid) for pid in pids] == [True] * 5
    process.send_signal(signal.SIGKILL)
    assert survivors(pids) == []


def test_a_killed_node_takes_it_along_even_if_a_forked_child_lives_on(node: Any, tmp_path: Path) -> None:
    process = node("fork")
    pids = pids_in(tmp_path / "pids")
    assert process.stdout.readline() == "forked\n"
    process.send_signal(signal.SIGKILL)
    assert survivors(pids) == []


def test_a_node_that_ends_by_itself_takes_it_along(node: Any, tmp_path: Path) -> None:
    process = node()
    pids = pids_in(tmp_path / "pids")
    process.send_signal(signal.SIGTERM)
    assert survivors(pids) == []


def test_a_timeout_kills_the_whole_family_even_in_other_sessions(tmp_path: Path) -> None:
    for seconds in (2, 8, 32, 80):  # on a slow machine it may be over before the family is there
        work = python(FAMILY + "time.sleep(600)\n", str(tmp_path / "pids"), timeout=timedelta(seconds=seconds))
        with pytest.raises(CommandFailedError, match="it took longer"):
            work.call((), {})
        if (tmp_path / "pids").exists():
            break
    assert [alive(pid) for pid in pids_in(tmp_path / "pids")] == [False] * 5


def test_what_a_command_leaves_in_another_session_is_gone_once_it_is_answered(tmp_path: Path) -> None:
    work = python(FAMILY, str(tmp_path / "pids"), timeout=timedelta(minutes=5))
    assert work.call((), {})["returncode"] == 0
    assert [alive(pid) for pid in pids_in(tmp_path / "pids")] == [False] * 5


def test_a_killed_guard_takes_its_program_along_and_the_run_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    source = "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()} {os.getppid()} '); time.sleep(600)"
    work = python(source, str(path))

    def kill_guard() -> None:
        assert eventually(lambda: path.exists() and path.read_text(encoding="utf-8").endswith(" "))
        os.kill(pids_in(path)[1], signal.SIGKILL)

    killer = Thread(target=kill_guard)
    killer.start()
    with pytest.raises(CommandFailedError) as caught:
        work.call((), {})
    killer.join()
    assert caught.value.returncode == -signal.SIGKILL
    assert survivors(pids_in(path)) == []


def test_a_program_that_signals_its_own_group_does_not_reach_its_guard() -> None:
    work = python("import os, signal; signal.signal(15, signal.SIG_IGN); os.killpg(0, 15); print('on')")
    assert work.call((), {}) == {"returncode": 0, "output": "on\n"}


def test_a_signal_that_ends_a_program_is_its_exit_status() -> None:
    with pytest.raises(CommandFailedError) as caught:
        python("import os; os.kill(os.getpid(), 11)").call((), {})
    assert caught.value.returncode == -signal.SIGSEGV


def test_a_program_begins_with_signals_as_a_shell_would_give_it() -> None:
    source = "print(*open('/proc/self/status').read().split('Sig')[2:5])"
    program = GuardedProgram([PYTHON, "-ISc", source], cwd="/", env={})
    with program.output as output:
        blocked, ignored, _ = output.read().decode().split("\n")[:3]
    assert program.wait() == 0
    python_ignores = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
    assert (int(blocked.split()[1], 16), int(ignored.split()[1], 16) & ~python_ignores) == (0, 0)


@pytest.mark.parametrize(("program", "cwd"), [("/no/such/program", "/"), (PYTHON, "/no/such/folder")])
def test_what_cannot_be_started_says_what_is_missing(program: str, cwd: str) -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/"):
        GuardedProgram([program], cwd=cwd, env={})


def test_the_environment_of_a_program_is_in_no_command_line_and_not_its_guards(tmp_path: Path) -> None:
    source = "import os, time; print(os.environ['TOKEN'], os.getppid(), flush=True); time.sleep(600)"
    program = GuardedProgram([PYTHON, "-ISc", source], cwd=str(tmp_path), env={"TOKEN": "canary"})
    token, guard = program.output.readline().decode().split()
    told = [Path(f"/proc/{guard}/{name}").read_bytes() for name in ("cmdline", "environ")]
    program.kill()
    assert (token, program.wait()) == ("canary", -signal.SIGKILL)
    assert [b"canary" in text for text in told] == [False, False]
    program.output.close()
