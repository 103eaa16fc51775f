#!/usr/bin/env python3
"""The project's commands. They need Python 3.11 or newer and a package index, nothing else.

The first use makes the virtual environments: `.venv/py3.11-dev` from `requirements/dev.txt`, and so on,
one for each version of Python and each lock. Later uses find them ready. KOKUGEN_VENV names another folder
to keep them in.

This file imports the standard library only, and an old Python can read it far enough to be refused in words.
"""

import sys


def require_python(version: "tuple[int, ...]") -> None:
    """Stop here, in one line, on a Python that is too old for the rest of this file."""
    if version < (3, 11):
        found = ".".join(str(part) for part in version)
        sys.exit(f"dev.py: kokugen needs Python 3.11 or newer, and this is {found}")


require_python(tuple(sys.version_info[:3]))

import contextlib
import hashlib
import importlib.util
import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENVS = Path(os.environ.get("KOKUGEN_VENV") or ROOT / ".venv").expanduser().absolute()
PYTHON = "py{}.{}{}".format(*sys.version_info[:2], "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")
PROJECT = ROOT / "pyproject.toml"
CODE = ("src", "tests", "benchmarks", "examples", "dev.py")
SUPPORTED = ("3.11", "3.12", "3.13", "3.14", "3.15")
PIP = ("-m", "pip", "--disable-pip-version-check")
LOCKS = {
    "dev": (PROJECT.name, "--all-extras", "--group=dev"),
    "bench": (PROJECT.name, "--all-extras", "--group=bench"),
    "uv": ("--group=uv",),
}


# -- The commands: each one's first line is its help


def demo(arguments: list[str]) -> None:
    """Run the demonstration: real reminders, a worker killed twice, nothing lost.

    Its arguments are those of `kokugen demo`.
    """
    become(prepared("dev").script("kokugen"), "demo", *arguments)


def test(arguments: list[str]) -> None:
    """Run the tests; arguments go to pytest."""
    become(prepared("dev").python, "-m", "pytest", *arguments)


def check(arguments: list[str]) -> None:
    """Lint, check the format, the types and the layers; all of them, whatever fails."""
    refuse(arguments)
    environment = prepared("dev")
    code = [path for path in CODE if (ROOT / path).exists()]
    checks = {
        "ruff check": ("ruff", "check"),
        "ruff format": ("ruff", "format", "--check"),
        "mypy": ("mypy", *code),
        "lint-imports": ("lint-imports", "--no-logo"),
    }
    failed = []
    for name, (tool, *options) in checks.items():
        say(name)
        if not succeeds(environment.script(tool), *options):
            failed.append(name)
    say("failed: " + ", ".join(failed) if failed else "every check passed")
    print(f"check: {len(checks) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


def bench(arguments: list[str]) -> None:
    """Run the benchmarks, or only those named, beside their peers."""
    become(prepared("bench").python, ROOT / "benchmarks" / "run.py", *arguments)


def chaos(arguments: list[str]) -> None:
    """Kill, stop, cut off and restart real processes, and judge what came of it (--ci: fewer times; --help)."""
    become(prepared("dev").python, "-m", "tests.chaos", *arguments)


def simulate(arguments: list[str]) -> None:
    """Play simulated clusters in trouble, or one again (--seed N; --release: as many as a release must show)."""
    become(prepared("dev").python, "-m", "tests.simulation", *arguments)


def docs(arguments: list[str]) -> None:
    """Build the documentation into site/; a warning is an error."""
    become(prepared("dev").script("zensical"), "build", "--clean", "--strict", *arguments)


def lock(arguments: list[str]) -> None:
    """Compile requirements/ anew from pyproject.toml (--upgrade: to the newest; --check: only look)."""
    if arguments != ["--check"]:
        for name in LOCKS:
            compile_lock(name, arguments)
    for name in LOCKS:
        inspect_lock(name)
    say("the locks hold no address and resolve for Python " + ", ".join(SUPPORTED))


def wheel(arguments: list[str]) -> None:
    """Build the wheel, install it alone in an empty environment and use it from there."""
    refuse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        build = (prepared("dev").python, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
        run(*build, stdout=subprocess.DEVNULL)
        (built,) = Path(folder).glob("*.whl")
        empty = Environment("wheel", Path(folder) / "venv")
        empty.create()
        empty.install("--constraint", str(constraints(Path(folder))), str(built))
        run(empty.python, "-c", USE_THE_WHEEL, cwd=folder)
        run(empty.script("kokugen"), "--help", cwd=folder, stdout=subprocess.DEVNULL)
        say(f"{built.name} installs, imports and starts on Python {sys.version.split()[0]}")


COMMANDS = {command.__name__: command for command in (demo, test, check, bench, chaos, simulate, docs, lock, wheel)}

USE_THE_WHEEL = """
import importlib.resources, kokugen
assert importlib.resources.files(kokugen).joinpath("py.typed").is_file(), "the wheel lacks py.typed"
assert kokugen.__all__, "the wheel exports nothing"
"""


# -- Environments


class Environment:
    """One virtual environment, made from one file of requirements/."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self.folder = folder or VENVS / f"{PYTHON}-{name}"
        self.lock = ROOT / "requirements" / f"{name}.txt"

    @property
    def python(self) -> Path:
        return self.script("python")

    def script(self, name: str) -> Path:
        """The path of a program of this environment."""
        scripts = sysconfig.get_path("scripts", "venv", {"base": str(self.folder)})
        return Path(scripts) / f"{name}{sysconfig.get_config_var('EXE') or ''}"

    def create(self) -> None:
        """Make it anew and empty; only the one called uv gets a pip of its own."""
        if importlib.util.find_spec("ensurepip") is None:
            stop(
                "this Python lacks ensurepip; install it (on Debian and Ubuntu: "
                f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv), or use another Python"
            )
        without = () if self.name == "uv" else ("--without-pip",)
        run(sys.executable, "-m", "venv", "--clear", *without, self.folder)

    def install(self, *arguments: str) -> None:
        """Install with uv, or with pip where uv can't be had or lacks the index that pip is set up for."""
        tools = Environment("uv")
        uv = (tools.script("uv"), "pip", "install", "--quiet", "--python", self.python)
        if tools.script("uv").exists() and succeeds(*uv, *arguments):
            return
        say("uv could not install it, so pip does")
        run(tools.python, *PIP, "--python", self.python, "install", "--quiet", *arguments)

    def needs(self, step: str, *inputs: object) -> bool:
        """Whether this step has not been done with these inputs yet; `did` notes that it has."""
        stamp = self.folder / f".{step}"
        return not stamp.exists() or stamp.read_text(encoding="ascii") != digest(*inputs)

    def did(self, step: str, *inputs: object) -> None:
        (self.folder / f".{step}").write_text(digest(*inputs), encoding="ascii")


def prepared(name: str) -> Environment:
    """The environment of that name, with its lock and the project installed."""
    environment = Environment(name)
    locked = (sys.version, sys.base_prefix, environment.lock.read_bytes())
    project = (*locked, PROJECT.read_bytes(), ROOT)
    with one_at_a_time():
        prepare_tools()
        if environment.needs("locked", *locked):
            say(f"making {environment.folder} from {environment.lock.relative_to(ROOT).as_posix()}, once")
            environment.create()
            environment.install("--require-hashes", "--requirement", str(environment.lock))
            environment.did("locked", *locked)
        if environment.needs("project", *project):
            environment.install("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
            environment.did("project", *project)
    return environment


def prepare_tools() -> Environment:
    """The environment that the others are installed from: pip, and uv where it can be had."""
    tools = Environment("uv")
    inputs = (sys.version, sys.base_prefix, tools.lock.read_bytes())
    if tools.needs("locked", *inputs):
        tools.create()
        if not succeeds(tools.python, *PIP, "install", "--quiet", "--require-hashes", "--requirement", tools.lock):
            say("uv can't be installed here")
        tools.did("locked", *inputs)
    return tools


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """A second dev.py waits here until the first has installed; one that dies leaves no lock behind."""
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / "lock").open("w") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:  # LK_LOCK gives up after ten seconds
                with contextlib.suppress(OSError):
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(*inputs: object) -> str:
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


# -- Locks


def compile_lock(name: str, arguments: list[str]) -> None:
    target = f"requirements/{name}.txt"
    what = ("--universal", f"--python-version={SUPPORTED[0]}", "--output-file", target)
    how = ("--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet")
    run(uv_program(), "pip", "compile", *LOCKS[name], *what, *how, *arguments)


def inspect_lock(name: str) -> None:
    """Stop unless the lock is free of addresses and resolves for every supported Python."""
    path = ROOT / "requirements" / f"{name}.txt"
    if "://" in path.read_text(encoding="utf-8"):
        stop(f"{path.name} holds an address")
    look = ("pip", "install", "--dry-run", "--quiet", "--require-hashes", "--requirement", path)
    for version in SUPPORTED:
        with tempfile.TemporaryDirectory() as nowhere:
            if not succeeds(uv_program(), *look, f"--python-version={version}", "--target", nowhere):
                stop(f"{path.name} does not resolve for Python {version}")


def uv_program() -> Path:
    with one_at_a_time():
        program = prepare_tools().script("uv")
    if not program.exists():
        stop("this command needs uv, which could not be installed here")
    return program


def constraints(folder: Path) -> Path:
    """The versions of the lock without their hashes, since a wheel built here can have none."""
    pins = re.findall(r"^(\S+==.*?) *\\?$", Environment("dev").lock.read_text(encoding="utf-8"), re.MULTILINE)
    target = folder / "constraints.txt"
    target.write_text("\n".join(pins), encoding="utf-8")
    return target


# -- Running programs


def become(program: Path, *arguments: object) -> NoReturn:
    """Turn into that program, so that signals reach it and its exit code is ours."""
    command = [str(program), *map(str, arguments)]
    os.chdir(ROOT)
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(program, command)
    sys.exit(subprocess.run(command, check=False).returncode)


def run(*command: object, cwd: str | Path = ROOT, stdout: int | None = None) -> None:
    """Run a command whose failure ends this one."""
    words = [str(word) for word in command]
    code = subprocess.run(words, cwd=cwd, stdout=stdout, check=False).returncode
    if code:
        stop(f"this failed with exit code {code}: {' '.join(words)}")


def succeeds(*command: object) -> bool:
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=False).returncode == 0


def say(text: str) -> None:
    print(f"dev.py: {text}", flush=True)


def refuse(arguments: list[str]) -> None:
    """Stop at arguments given to a command that takes none."""
    if arguments:
        stop(f"this command takes no arguments: {' '.join(arguments)}", code=2)


def stop(reason: str, code: int = 1) -> NoReturn:
    print(f"dev.py: {reason}", file=sys.stderr)
    sys.exit(code)


def usage() -> str:
    helps = [(name, (command.__doc__ or "").splitlines()[0]) for name, command in COMMANDS.items()]
    lines = [f"  {name:<10}{text}" for name, text in helps]
    return "\n".join(["usage: python3 dev.py COMMAND [ARGUMENTS]", "", *lines])


def main(words: list[str]) -> None:
    """Run the command that the words name."""
    if not words or words[0] in {"help", "-h", "--help"}:
        print(usage())
        return
    if words[0] not in COMMANDS:
        stop(f"there is no command {words[0]!r}; there are {', '.join(COMMANDS)}", code=2)
    COMMANDS[words[0]](words[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        stop("interrupted", code=130)
