"""Style as tests: what a reader may rely on in every file, and what no file may do.

The layers are import-linter's, the order of `__all__` and much else ruff's; here is what they can't say.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "kokugen"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" + "XX")

# What only these modules, and those inside them, may use. Nobody may use what nobody is named for.
ALLOWED: dict[str, set[str]] = {
    # Time and chance come from what a part was given, so that the real engine runs in virtual time.
    "time": {"kokugen.clock"},
    "datetime.datetime.now": set(),
    "datetime.datetime.today": set(),
    "datetime.datetime.utcnow": set(),
    "datetime.date.today": set(),
    "random": {"kokugen.ids"},
    "secrets": {"kokugen.ids"},
    "os.urandom": {"kokugen.ids"},
    "uuid.uuid1": set(),
    "uuid.uuid4": set(),
    "uuid.uuid7": {"kokugen.ids"},
    # SQL has one home; and one process must never open a file with both libraries.
    "asyncpg": {"kokugen.repository.postgres"},
    "apsw": {"kokugen.repository.sqlite.library", "kokugen.repository.sqlite.borrowed"},  # which opens none
    "sqlite3": {"kokugen.repository.sqlite.library", "kokugen.repository.sqlite.borrowed"},
    # What is stored never names a Python object and is never run.
    "pickle": set(),
    "marshal": set(),
    "shelve": set(),
    "builtins.eval": set(),
    "builtins.exec": set(),
    "builtins.compile": set(),
    "builtins.__import__": set(),
    "pkgutil.resolve_name": set(),
    "runpy": set(),
    "importlib.import_module": {
        "kokugen.cli",  # for `kokugen worker MODULE:SCHEDULER`
        "kokugen.dispatcher.reference",  # for a process that a node runs work in: only the node says what
    },
    "importlib.reload": set(),
    "importlib.util": set(),
    "importlib.machinery": set(),
}
HARMLESS = {"random.Random"}  # as a type, for what is given; to make one is "random.Random()"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The local and the full name of everything imported, wherever it stands in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or whole, whole
                yield alias.name, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def uses(tree: ast.Module) -> set[str]:
    """The full names of what a file imports, reads and calls: `os.urandom`, however it was imported."""
    known = dict(imports(tree))

    def full(node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return known.get(node.id, f"builtins.{node.id}")
        return f"{full(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    read = {full(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)}
    called = {f"{full(node.func)}()" for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return (read | called | set(known.values())) - HARMLESS


def within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


def trespasses(tree: ast.Module, module: str) -> set[str]:
    """What this module uses of the guarded names without being allowed to."""
    used = uses(tree)
    closed = {name for name, owners in ALLOWED.items() if not any(within(module, owner) for owner in owners)}
    return {guarded for guarded in closed if any(within(name, guarded) for name in used)}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def each_source() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", SOURCES, ids=module_name)


# -- The source


def test_there_is_source_to_look_at() -> None:
    assert len(SOURCES) > 5
    assert (PACKAGE / "py.typed").is_file()


@each_source()
def test_guarded_names_are_used_only_where_allowed(path: Path) -> None:
    assert trespasses(parsed(path), module_name(path)) == set()


@pytest.mark.parametrize(
    ("source", "guarded"),
    [
        ("import time", "time"),
        ("import time as t\nt.sleep(1)", "time"),
        ("def f():\n    from time import monotonic", "time"),
        ("import datetime\ndatetime.datetime.now()", "datetime.datetime.now"),
        ("from datetime import datetime as d\nd.now(tz)", "datetime.datetime.now"),
        ("import os\nos.urandom(8)", "os.urandom"),
        ("from os import urandom", "os.urandom"),
        ("from random import Random\nRandom()", "random"),
        ("import apsw.ext", "apsw"),
        ("from apsw import Connection", "apsw"),
        ("eval('1')", "builtins.eval"),
        ("list(map(eval, words))", "builtins.eval"),
        ("__import__('os')", "builtins.__import__"),
        ("from importlib import import_module", "importlib.import_module"),
        ("import importlib.util", "importlib.util"),
        ("import importlib\nimportlib.reload(m)", "importlib.reload"),
    ],
)
def test_every_way_to_a_guarded_name_is_seen(source: str, guarded: str) -> None:
    assert trespasses(ast.parse(source), "kokugen.somewhere") == {guarded}


@pytest.mark.parametrize(
    "source",
    [
        "def f(time):\n    return time.total",
        "import timeit",
        "from random import Random\ndef f(chance: Random):\n    chance.random()",
        "from datetime import datetime\ndatetime.fromisoformat(s)",
        "import importlib.resources\nimportlib.resources.files('kokugen')",
        "self.clock.time.now()",
        "pattern.compile(x)",
    ],
)
def test_a_name_that_only_looks_guarded_is_left_alone(source: str) -> None:
    assert trespasses(ast.parse(source), "kokugen.somewhere") == set()


def test_an_allowed_module_may_and_its_neighbour_may_not() -> None:
    tree = ast.parse("import apsw")
    assert trespasses(tree, "kokugen.repository.sqlite.library") == set()
    assert trespasses(tree, "kokugen.repository.sqlite.library.inner") == set()
    assert trespasses(tree, "kokugen.repository.sqlite.library_like") == {"apsw"}


@each_source()
def test_no_module_imports_through_the_front_door(path: Path) -> None:
    """`from kokugen import Scheduler` inside the package would hide from the layers what it brings."""
    inside = {child.stem for child in PACKAGE.iterdir()}
    if within(module_name(path), "kokugen.cli"):
        return  # the layer of people uses the public names, as an application does
    names = {full for _, full in imports(parsed(path)) if full.startswith("kokugen")}
    assert {name for name in names if name == "kokugen" or name.split(".")[1] not in inside} == set()


@each_source()
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@each_source()
def test_a_function_is_short_enough_to_see(path: Path) -> None:
    lengths = {node.name: length(node) for node in functions(parsed(path))}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_the_package_exports_its_public_names_and_nothing_else() -> None:
    tree = parsed(PACKAGE / "public.py")
    assigned = {ast.unparse(node.targets[0]): node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)}
    public = ast.literal_eval(assigned["__all__"])
    brought = {local for local, full in imports(tree) if full.startswith("kokugen.")}
    assert len(public) == len(set(public))
    assert set(public) == brought | (assigned.keys() - {"__all__"})


# -- Everything that is written


def written() -> list[Path]:
    folders = ("src", "tests", "benchmarks", "examples", "docs", "changelog.d")
    found = [*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return [path for path in found if path.suffix in {".md", ".py", ".sql", ".toml"}]


def test_nothing_is_left_for_later() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in written()}
    assert len(texts) > len(SOURCES)
    assert {str(path) for path, text in texts.items() if any(word in text for word in UNFINISHED)} == set()


def pages_in(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_in(entry)


def test_the_navigation_names_every_page_of_the_docs() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(pages_in(nav)) == pages


def test_every_changelog_fragment_says_something_of_a_known_kind() -> None:
    kinds = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert {path.suffix for path in fragments} <= {".md"}
    assert {path.stem.rpartition(".")[2] for path in fragments} <= kinds
    assert [path.name for path in fragments if not path.read_text(encoding="utf-8").strip()] == []


# -- What is installed


def pins(lock: Path) -> dict[str, str]:
    """The locked versions by name, each with a hash; where it depends on the system, one of them."""
    lines = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = [re.match(r"(\S+)==(\S+) .*--hash=sha256:", line) for line in lines if not line.startswith(" ")]
    return {match[1]: match[2] for match in found if match} if all(found) else {}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_version_has_a_hash_and_no_address(lock: Path) -> None:
    assert pins(lock)
    assert "://" not in lock.read_text(encoding="utf-8")


@pytest.mark.parametrize("group", ["dev", "bench", "uv"])
def test_the_lock_holds_what_the_project_asks_for(group: str) -> None:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    runtime = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    asked = groups[group] + (runtime if group != "uv" else [])
    locked = pins(ROOT / "requirements" / f"{group}.txt")
    missing = [text for text in asked if not satisfied(Requirement(text), locked)]
    assert missing == []


def satisfied(wanted: Requirement, locked: dict[str, str]) -> bool:
    version = locked.get(canonicalize_name(wanted.name))
    return version is not None and wanted.specifier.contains(version)
