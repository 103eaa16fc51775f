"""Nothing of a command outlives its node, its time or its guard: real processes, killed for real."""

from __future__ import annotations

import os
import pwd
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
from kokugen.registry import guard
from kokugen.registry import process as processes
from kokugen.registry.commands import CommandRegistry, CommandWork
from kokugen.registry.guarded import GuardedProgram
from kokugen.registry.process import Launch, run_process

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


def test_a_program_runs_as_the_user_it_is_allowed_for_and_with_nothing_of_its_nodes() -> None:
    work = CommandRegistry().allow("who", "/bin/cat", "/proc/self/status", user="nobody")
    if os.geteuid() != 0:  # nobody but root can become another user
        with pytest.raises(PermissionError, match="user nobody"):
            work.call((), {})
        return
    status = dict(line.split(":\t", 1) for line in work.call((), {})["output"].splitlines() if ":\t" in line)
    account = pwd.getpwnam("nobody")
    assert set(status["Uid"].split()) == {str(account.pw_uid)}
    assert set(status["Gid"].split()) == {str(account.pw_gid)}
    assert set(map(int, status["Groups"].split())) == set(os.getgrouplist("nobody", account.pw_gid))
    assert int(status["CapEff"], 16) == 0


def test_a_program_of_another_user_dies_with_its_time_too() -> None:
    work = CommandRegistry().allow("wait", "/bin/sleep", "600", user="nobody", timeout=timedelta(milliseconds=200))
    with pytest.raises((CommandFailedError, PermissionError)) as caught:
        work.call((), {})
    if os.geteuid() == 0:
        assert isinstance(caught.value, CommandFailedError)
        assert "took longer" in caught.value.output
        assert "could not be killed" not in caught.value.output


# -- What may not be killed


class Family(guard.Program):
    """A program and what it started, as pids: each dies at the first signal, but for those of another user."""

    def __init__(self, own: set[int], others: set[int], *, deathless: bool = False) -> None:
        super().__init__(10)
        self.own, self.others, self._deathless = own, others, deathless
        self.rounds = 0

    def reap_all(self) -> bool:
        self.rounds += 1
        return bool(self.own | self.others)

    def children(self) -> list[int]:
        return sorted(self.own | self.others)

    def kill(self, pid: int, _: int) -> None:
        if pid in self.others:
            raise PermissionError(pid)
        if not self._deathless:
            self.own.discard(pid)


def killed(monkeypatch: pytest.MonkeyPatch, family: Family) -> list[int]:
    """Have the guard kill the family; return what it left."""
    with monkeypatch.context() as patch:
        patch.setattr(guard, "_signal_group", lambda *_: None)
        patch.setattr(guard, "_children", family.children)
        patch.setattr(guard, "PAUSES_MS", [0] * len(guard.PAUSES_MS))
        patch.setattr(os, "kill", family.kill)
        return guard._kill_all(family)


def test_the_guard_kills_what_it_may_and_leaves_only_what_it_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family({10, 11}, {12, 13})
    assert (killed(monkeypatch, family), family.own, family.rounds) == ([12, 13], set(), 2)
    assert killed(monkeypatch, Family({10, 11}, set())) == []


def test_a_program_that_may_not_be_killed_itself_has_not_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family(set(), {10})
    assert (killed(monkeypatch, family), family.code) == ([10], -signal.SIGKILL)


def test_the_guard_gives_up_on_what_will_not_die_before_the_node_gives_up_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert killed(monkeypatch, Family({10}, {11}, deathless=True)) == [10, 11]
    assert 20 < sum(guard.PAUSES_MS) / 1000 < processes._KILL_S - 5


UNABLE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 5, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python as a superuser that may signal no other user (PR_CAPBSET_DROP of CAP_KILL)."""

RUN = """
import sys
from datetime import timedelta
from kokugen.errors import CommandFailedError
from kokugen.registry.commands import CommandRegistry
work = CommandRegistry().allow("py", sys.executable, "-ISc", sys.argv[1], sys.argv[2], timeout=timedelta(minutes=5))
try:
    print(work.call((), {})["output"])
except CommandFailedError as error:
    print(error)
"""

LEAVE = """
import os, sys, time
ready, go = os.pipe()
left = os.fork()
if left == 0:
    os.setsid()
    os.setuid(65534)
    os.write(go, b"x")
    os.closerange(0, 9)
    time.sleep(60)
os.read(ready, 1)
print(left)
sys.exit(int(sys.argv[1]))
"""
"""Leaves a process of another user behind, and prints its pid."""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs a superuser, to have two users")
@pytest.mark.parametrize("status", [0, 3])
def test_a_process_of_another_user_that_a_command_leaves_does_not_hold_its_run_up(status: int) -> None:
    command = [PYTHON, "-c", UNABLE, "-c", RUN, LEAVE, str(status)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    left = int(ran.stderr.rpartition("may run on: process ")[2])
    assert alive(left)
    os.kill(left, signal.SIGKILL)
    assert (f"\n{left}\n" in f"\n{ran.stdout}", f"process {left}]" in ran.stdout) == (status == 0, status != 0)


class Stuck:
    """A program whose guard answers nothing, until it is ended itself."""

    left = ()

    def __init__(self, *, for_ever: bool) -> None:
        self.asked: list[str] = []
        self._for_ever = for_ever
        self._over = Event()
        reading, writing = os.pipe()
        os.close(writing)
        self.output = os.fdopen(reading, "rb")

    def terminate(self) -> None:
        self.asked.append("terminate")

    def kill(self) -> None:
        self.asked.append("kill")

    def give_up(self) -> None:
        self.asked.append("give up")
        if not self._for_ever:
            self._over.set()

    def wait(self) -> int:
        assert self._over.wait(PATIENCE_S)
        return -15


@pytest.mark.parametrize(("for_ever", "code"), [(False, -15), (True, -9)])
def test_a_run_ends_even_if_its_guard_does_not(monkeypatch: pytest.MonkeyPatch, for_ever: bool, code: int) -> None:
    program = Stuck(for_ever=for_ever)
    monkeypatch.setattr(processes, "_Start", lambda *_, **__: program)
    for bound in ("_GRACE_S", "_KILL_S"):
        monkeypatch.setattr(processes, bound, 0.01)
    monkeypatch.setattr(processes, "_LINGER_S", 0.01 if for_ever else PATIENCE_S)
    launch = Launch(path="/stuck", timeout=timedelta(milliseconds=1), cwd="/", env={}, output_max=1)
    ended = run_process(launch, [], None)
    program._over.set()
    assert (ended.returncode, program.asked) == (code, ["terminate", "kill", "give up"])
