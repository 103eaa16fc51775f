"""dev.py: what a newcomer's first command says when something is wrong, and what it runs when nothing is."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dev

DEV = Path(dev.__file__)
OLD_PYTHON = "import runpy, sys; sys.version_info = (3, 10, 4); runpy.run_path(sys.argv[1])"
NO_ENSUREPIP = (
    "import sys; sys.modules['ensurepip'] = None; import runpy; path = sys.argv.pop(1); "
    "runpy.run_path(path, run_name='__main__')"
)


def start(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=60
    )


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the environments by ready ones, and says what dev.py turns into."""
    became: list[str] = []

    def become(*words: object) -> None:
        became.extend(map(str, words))

    monkeypatch.setattr(dev, "prepared", dev.Environment)
    monkeypatch.setattr(dev, "become", become)
    return became


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Replaces every program; those set to False here fail. The keys become the programs' names, in order."""
    outcome: dict[str, bool] = {}

    def succeeds(*command: object) -> bool:
        return outcome.setdefault(Path(str(command[0])).stem, True)

    monkeypatch.setattr(dev, "succeeds", succeeds)
    return outcome


# -- Before there is an environment


def test_it_imports_the_standard_library_only() -> None:
    nodes = list(ast.walk(ast.parse(DEV.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    modules = {name.partition(".")[0] for name in plain | froms}
    assert modules
    assert modules <= sys.stdlib_module_names


def test_an_old_python_can_parse_it() -> None:
    assert ast.parse(DEV.read_text(encoding="utf-8"), feature_version=(3, 7)).body


def test_an_old_python_is_refused_in_one_line() -> None:
    answer = start("-c", OLD_PYTHON, DEV)
    assert answer.returncode == 1
    assert answer.stderr == "dev.py: kokugen needs Python 3.11 or newer, and this is 3.10.4\n"


def test_a_python_without_ensurepip_is_told_what_to_install(tmp_path: Path) -> None:
    answer = start("-c", NO_ENSUREPIP, DEV, "test", KOKUGEN_VENV=str(tmp_path))
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "ensurepip" in answer.stderr
    assert f"apt install python3.{sys.version_info[1]}-venv" in answer.stderr


@pytest.mark.parametrize("words", [(), ("help",), ("--help",)])
def test_help_names_every_command_with_one_line(words: tuple[str, ...]) -> None:
    answer = start(DEV, *words)
    described = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if line.startswith("  "))
    assert answer.returncode == 0
    assert set(described) == {"demo", "test", "check", "bench", "chaos", "simulate", "docs", "lock", "wheel"}
    assert all(text.endswith(".") for text in described.values())


def test_an_unknown_command_is_refused_with_the_known_ones() -> None:
    answer = start(DEV, "tset")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "'tset'" in answer.stderr
    assert "demo, test, check" in answer.stderr


@pytest.mark.parametrize("command", ["check", "wheel"])
def test_arguments_that_would_be_ignored_are_refused(command: str) -> None:
    answer = start(DEV, command, "--fast")
    assert answer.returncode == 2
    assert "--fast" in answer.stderr


# -- What the commands run


@pytest.mark.parametrize(
    ("command", "program", "words"),
    [
        ("demo", "kokugen", ["demo", "-x"]),
        ("test", "python", ["-m", "pytest", "-x"]),
        ("docs", "zensical", ["build", "--clean", "--strict", "-x"]),
        ("bench", "python", [str(dev.ROOT / "benchmarks" / "run.py"), "-x"]),
        ("chaos", "python", ["-m", "tests.chaos", "-x"]),
        ("simulate", "python", ["-m", "tests.simulation", "-x"]),
    ],
)
def test_a_command_hands_its_arguments_on(ready: list[str], command: str, program: str, words: list[str]) -> None:
    dev.main([command, "-x"])
    environment = dev.Environment("bench" if command == "bench" else "dev")
    assert ready == [str(environment.script(program)), *words]


@pytest.mark.usefixtures("ready")
def test_check_runs_everything_and_names_what_failed(
    programs: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    programs["mypy"] = False
    with pytest.raises(SystemExit) as stopped:
        dev.main(["check"])
    assert stopped.value.code == 1
    assert set(programs) == {"ruff", "mypy", "lint-imports"}
    assert "failed: mypy\n" in capsys.readouterr().out


@pytest.mark.usefixtures("ready", "programs")
def test_check_succeeds_when_everything_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        dev.main(["check"])
    assert stopped.value.code == 0
    assert "check: 4 passed, 0 failed\n" in capsys.readouterr().out


def test_a_failed_program_stops_the_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        dev.run(sys.executable, "-c", "raise SystemExit(7)")
    assert stopped.value.code == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


# -- Environments and locks


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Puts a uv beside which pip need not run, and collects what pip is asked for."""
    asked: list[list[str]] = []
    monkeypatch.setattr(dev, "VENVS", tmp_path)
    monkeypatch.setattr(dev, "run", lambda *command: asked.append([str(word) for word in command]))
    uv = dev.Environment("uv").script("uv")
    uv.parent.mkdir(parents=True)
    uv.touch()
    return asked


def test_uv_installs_where_it_can(tools: list[list[str]], programs: dict[str, bool]) -> None:
    dev.Environment("dev").install("thing")
    assert programs == {"uv": True}
    assert tools == []


def test_pip_installs_where_uv_fails(tools: list[list[str]], programs: dict[str, bool]) -> None:
    programs["uv"] = False
    dev.Environment("dev").install("thing")
    assert [command[1:3] + command[-1:] for command in tools] == [["-m", "pip", "thing"]]


def test_a_step_is_needed_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    environment = dev.Environment("dev", tmp_path)
    assert environment.needs("locked", b"one")
    environment.did("locked", b"one")
    assert not environment.needs("locked", b"one")
    assert environment.needs("locked", b"two")
    assert environment.needs("project", b"one")


def test_each_version_of_python_has_its_own_environment() -> None:
    folder = dev.Environment("dev").folder
    assert folder.parent == dev.VENVS
    assert folder.name.startswith(f"py3.{sys.version_info[1]}")


@pytest.mark.skipif(sys.platform == "win32", reason="asks with fcntl, which Windows lacks")
def test_only_one_dev_installs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "VENVS", tmp_path)
    attempt = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with dev.one_at_a_time():
        during = start("-c", attempt, tmp_path / "lock")
    after = start("-c", attempt, tmp_path / "lock")
    assert "BlockingIOError" in during.stderr
    assert after.returncode == 0


@pytest.mark.usefixtures("programs")
def test_a_lock_with_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("--index-url ftp://mirror.example\n", encoding="utf-8")
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    with pytest.raises(SystemExit):
        dev.inspect_lock("dev")
    assert "dev.txt holds an address" in capsys.readouterr().err


def test_the_wheel_is_tried_with_exactly_the_locked_versions(tmp_path: Path) -> None:
    pins = dev.constraints(tmp_path).read_text(encoding="utf-8").splitlines()
    lock = (dev.ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert sum(line.startswith("apsw==") for line in pins) == 1
    assert len(pins) == sum("==" in line and not line.startswith(" ") for line in lock.splitlines())
    assert not any("--hash" in line or line.endswith("\\") for line in pins)
