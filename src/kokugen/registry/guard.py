"""The guard of one command: a process between a node and the program, which lets nothing of it outlive the node.

A script of its own, run by `kokugen.registry.guarded` as `python -I -S guard.py CHANNEL PARENT`; it imports nothing of
kokugen. CHANNEL is one end of a socket pair: what to run comes through it, then orders (`T` end politely, `K` kill),
and the answers go back (`S` started, `F` failed, `L` left alive, `E` ended). The other end closes when the node dies,
however it dies.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

LENGTH_DIGITS = 8
LOOK_MS = 500
"""How often the guard looks whether its parent lives: a forked child of the node may hold the channel open."""
PAUSES_MS = (1, 2, 5, 10, 20, 50, 100, 200, *(500,) * 58)
"""Between rounds of killing. After the last, some 30 s, what still dies is left to the system: it runs no more code."""
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
NOT_EXECUTED = 127


def main(channel: int, parent: int) -> None:
    """Run what the channel says to its end."""
    os.set_inheritable(channel, False)
    wake = _woken_by_signals()
    _control(SET_CHILD_SUBREAPER, 1)
    _control(SET_PDEATHSIG, signal.SIGTERM)  # it may be the thread alone that ended: the parent is looked at
    plan = _received(channel)
    if plan is None or os.getppid() != parent:
        return
    pid = _start(plan, channel)
    if pid is not None:
        program = Program(pid)
        _attend(program, channel, wake, parent)
        left = _kill_all(program)
        if left:
            _say(channel, f"L{' '.join(map(str, left))}")
        _say(channel, f"E{program.code}")


def _woken_by_signals() -> int:
    """Return a descriptor that is readable after each signal; none ends the guard, which ends with its program."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reading


def _control(option: int, value: int) -> None:
    """Call Linux's prctl; do nothing where there is none."""
    if sys.platform != "linux":
        return
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


Plan = tuple[bytes, bytes, list[bytes], dict[bytes, bytes]]
"""The folder of a program, whom it runs as, its arguments and its environment."""


def _received(channel: int) -> Plan | None:
    """Return what to run; None where the node died meanwhile."""
    head = _read(channel, LENGTH_DIGITS)
    body = _read(channel, int(head)) if head else b""
    if not body:
        return None
    folder, account, count, *words = body.split(b"\0")
    pairs = [word.partition(b"=") for word in words[int(count) :]]
    return folder, account, words[: int(count)], {name: value for name, _, value in pairs}


def _read(channel: int, size: int) -> bytes:
    """Return so many bytes; none where the channel ended before."""
    data = b""
    while len(data) < size:
        chunk = os.read(channel, size - len(data))
        if not chunk:
            return b""
        data += chunk
    return data


def _say(channel: int, text: str) -> None:
    with suppress(OSError):
        os.write(channel, f"{text}\n".encode())


# -- The program


def _start(plan: Plan, channel: int) -> int | None:
    """Start the program as the leader of a session of its own and return its pid; None where it cannot be run."""
    reading, writing = os.pipe()
    guard = os.getpid()
    try:
        program = os.fork()
    except OSError as error:
        _say(channel, f"Fstart {error.errno}")
        return None
    if program == 0:
        _become(plan, guard, writing)
    os.close(writing)
    failure = _read_all(reading)
    if failure:
        os.waitpid(program, 0)
        _say(channel, f"F{failure.decode()}")
        return None
    _say(channel, f"S{program}")
    return program


def _become(plan: Plan, guard: int, failures: int) -> None:
    """Turn this process into the program, or tell why not; never return."""
    folder, account, arguments, environment = plan
    stage = "user"
    try:
        os.setsid()
        _run_as(account)
        stage = "cwd"
        _control(SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(NOT_EXECUTED)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program would too
            signal.signal(number, signal.SIG_DFL)
        os.chdir(folder)
        stage = "path"
        os.execve(arguments[0], arguments, environment)  # noqa: S606 - there is none, on purpose
    except OSError as error:
        os.write(failures, f"{stage} {error.errno}".encode())
    finally:
        os._exit(NOT_EXECUTED)


def _run_as(account: bytes) -> None:
    """Become `NAME:UID:GID`, for good; nobody else where there is none. Only root may."""
    if account:
        name, uid, gid = account.decode().rsplit(":", 2)
        os.initgroups(name, int(gid))
        os.setgid(int(gid))
        os.setuid(int(uid))


def _read_all(descriptor: int) -> bytes:
    data = b""
    while chunk := os.read(descriptor, 4096):
        data += chunk
    os.close(descriptor)
    return data


# -- Its life


class Program:
    """The program, once it was started. `code` is how it ended, once it was reaped, and until then as if killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code = -int(signal.SIGKILL)
        self._reaped = False

    def has_ended(self) -> bool:
        """Return whether it ended; reap the orphans that did, but not the program, whose pid names its group."""
        if not hasattr(os, "waitid"):
            self.reap_all()
            return self._reaped
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid == self.pid:
                    return True
                os.waitpid(ended.si_pid, 0)
        return False

    def reap_all(self) -> bool:
        """Reap all children that have ended; return whether there are more."""
        try:
            while found := os.waitpid(-1, os.WNOHANG):
                if found[0] == self.pid:
                    self.code, self._reaped = os.waitstatus_to_exitcode(found[1]), True
                if found[0] == 0:
                    return True
        except ChildProcessError:
            pass
        return False


def _attend(program: Program, channel: int, wake: int, parent: int) -> None:
    """Wait until the program ends, or is to be killed."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while not program.has_ended() and os.getppid() == parent:
        ready = dict(poll.poll(LOOK_MS))
        _drain(wake)
        if channel in ready and not _obeyed(program, channel):
            return


def _obeyed(program: Program, channel: int) -> bool:
    """Carry out one order; return False for the last one, and for the end of the channel."""
    try:
        order = os.read(channel, 1)
    except OSError:
        return False
    if order == b"T":
        _signal_group(program.pid, signal.SIGTERM)
        return True
    return False


def _kill_all(program: Program) -> list[int]:
    """Kill the program's group, and all that was started below it; return the pids of what could not be killed.

    On Linux orphans come to the guard, so they too are its children, whatever session they made for themselves; it
    goes on until it has none but those of other users. Elsewhere the group is all that can be found.
    """
    _signal_group(program.pid, signal.SIGKILL)
    for pause_ms in PAUSES_MS:
        if not program.reap_all():
            return []
        children = _children()
        refused = [child for child in children if not _killed(child)]
        if children and refused == children:
            return refused
        select.poll().poll(pause_ms)
    return (_children() or [program.pid]) if program.reap_all() else []


def _killed(child: int) -> bool:
    """Kill a child; return False where it is another user's, and may not be."""
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def _signal_group(program: int, number: int) -> None:
    """Signal the group that the program leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program, number)


def _children() -> list[int]:
    """Return the children that there are: those not reaped yet, whose pids are nobody else's."""
    me = os.getpid()
    return [int(name) for name in _listed("/proc") if _parent(name) == me]


def _parent(pid: str) -> int:
    """Return the parent of a process (proc(5), field 4); nought where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes long to import
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _listed(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if name.isdigit()]  # noqa: PTH208 - as above
    except OSError:
        return []


def _drain(wake: int) -> None:
    with suppress(BlockingIOError):
        while os.read(wake, 4096):
            pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
