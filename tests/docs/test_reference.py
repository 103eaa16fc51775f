"""The reference is complete, and says what is so: settings, errors, options, tables, and the seed's names."""

from __future__ import annotations

import importlib
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kokugen import Retry, Scheduler, Settings, TaskState, errors, public
from kokugen.options import DeclaredOptions, Options
from kokugen.registry.commands import CommandRegistry
from kokugen.repository.rows import CancelResult
from kokugen.schedule_options import ScheduleChanges, ScheduleOptions
from kokugen.task import Mode, OnDuplicate
from tests.docs.markdown import ROOT

REFERENCE = ROOT / "docs" / "reference"
ERRORS = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.KokugenError)]
SEED_INDEX = """
ErrNoEnt ErrInvalidEnt ErrNotUpdatableState ErrMiddlewareOrder ErrNonexistentWorkId ErrOtherNodeWorkingOnTheTask
ExternalStateChangeErr MultiNodeTaskStorage NewMultiNodeTaskStorage MultiNodeTaskStorage.Middleware Repository
Repository.Insert Repository.GetUpdatedSince Repository.GetById Repository.MarkAsDone Repository.MarkAsCancelled
Repository.MarkAsFailed RepositoryUpdater SingleNodeTaskStorage NewSingleNodeTaskStorage
SingleNodeTaskStorage.Middleware SingleNodeTaskStorage.RetryMarking SingleNodeTaskStorage.Sync StateUpdater
StateUpdater.UpdateState SyncStateStore NewSyncStateStore SyncStateStore.Clone SyncStateStore.GetAll
SyncStateStore.Has SyncStateStore.Len SyncStateStore.Put SyncStateStore.Remove TaskInfo TaskMap NewTaskMap
TaskMap.AllIds TaskMap.Clone TaskMap.Delete TaskMap.Has TaskMap.LoadAndDelete TaskMap.LoadOrStore TaskState
TaskStateSet UpdateDiff UpdateKey Updater Updater.Update WorkFn WorkFnWParam WorkRegistry WorkRegistry.Load
ParamUnmarshaller AddWorker RemoveWorker ActiveWorkerNum
"""


def text_of(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def rows(name: str) -> dict[str, list[str]]:
    """The rows of all tables of a page, by the code in their first cell."""
    found: dict[str, list[str]] = {}
    for line in text_of(name).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| `") else []
        for word in re.findall(r"`([^`]+)`", cells[0]) if cells else []:
            found[word] = cells
    return found


def resolved(name: str) -> Any:
    """What a dotted name means: the longest part that is a module, and attributes behind it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


# -- Settings, options, errors


def as_told(value: object) -> str:
    """A default as the tables write it."""
    if isinstance(value, timedelta):
        return f"{value.days} days" if value.days else f"{value.total_seconds():g} s"
    return str(value)


def test_every_setting_is_there_with_its_default() -> None:
    told = {name: cells[1].strip("`") for name, cells in rows("settings.md").items()}
    assert told == {name: as_told(getattr(Settings(), name)) for name in Settings.__struct_fields__}


def test_every_option_is_there_with_its_default() -> None:
    told = rows("options.md")
    assert told.keys() == {*DeclaredOptions.__annotations__, *ScheduleChanges.__annotations__, "id", "aliases"}
    defaults = {
        name: default
        for kind in (Options, ScheduleOptions)
        for name, default in zip(kind.__struct_fields__, kind.__struct_defaults__, strict=True)
        if name not in {"id", "schedule", "name"}
    }
    named = {name: told[name][1].strip("`").strip('"') for name in defaults}
    assert named == {
        name: value.name.lower() if isinstance(value, Mode | OnDuplicate) else as_told(value)
        for name, value in (defaults | {"priority": int(defaults["priority"])}).items()
    }


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: one.__name__)
def test_every_error_is_there_with_the_builtin_it_also_is(error: type[errors.KokugenError]) -> None:
    if error is errors.KokugenError:
        assert f"`{error.__name__}`" in text_of("errors.md")
        return
    told = rows("errors.md")[error.__name__]
    bases = [base.__name__ for base in error.__bases__ if base is not errors.KokugenError]
    assert re.findall(r"`(\w+)`", told[1]) == bases
    assert len(told[2]) > 20, "when it is raised"


def test_no_error_is_told_of_that_there_is_not() -> None:
    assert rows("errors.md").keys() <= {error.__name__ for error in ERRORS}


def test_the_attributes_that_errors_are_said_to_have_are_theirs() -> None:
    for name, cells in rows("errors.md").items():
        for told in re.findall(r"Attributes? ((?:`\w+`,? ?)+)", cells[2]):
            taken = inspect.getsource(getattr(errors, name))
            assert [one for one in re.findall(r"`(\w+)`", told) if f"self.{one} = " not in taken] == [], name


# -- The rest of the reference


def test_every_parameter_of_a_scheduler_is_told_of() -> None:
    parameters = inspect.signature(Scheduler).parameters
    assert rows("api.md").keys() >= parameters.keys()


def test_the_api_page_has_every_public_name() -> None:
    shown = {line.rpartition(".")[2] for line in text_of("api.md").splitlines() if line.startswith("::: ")}
    triggers = dict.fromkeys(("Cron", "Every", "After"), "triggers.md")
    elsewhere = {"Settings": "settings.md", "KokugenError": "errors.md", **triggers}
    assert set(public.__all__) - shown == elsewhere.keys()
    assert [name for name, page in elsewhere.items() if name not in text_of(page)] == []


def test_the_api_page_names_what_is_there() -> None:
    for line in text_of("api.md").splitlines():
        if line.startswith("::: "):
            assert resolved(line.removeprefix("::: ")) is not None


def test_every_name_of_the_seed_is_mapped_to_one_that_is_there() -> None:
    told = rows("seed.md")
    assert set(SEED_INDEX.split()) - told.keys() == set()
    names = re.findall(r"`(kokugen\.[\w.]+)`", text_of("seed.md"))
    assert len(names) > 70
    for name in names:
        assert resolved(name) is not None


def test_every_table_and_column_of_the_store_is_told_of(tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}")
    scheduler.open()
    scheduler.close()
    import apsw

    db = apsw.Connection(str(tmp_path / "tasks.db"))
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    columns = {name for (name,) in db.execute("SELECT name FROM pragma_table_info('task')")}
    db.close()
    told = text_of("store.md").replace("`tasks.db", "")
    assert {name for name in tables if not name.startswith("sqlite_") and f"`{name}`" not in told} == set()
    assert {name for name in columns if f"`{name}`" not in told} == set()


def test_every_state_and_transition_is_told_of() -> None:
    text = text_of("states.md")
    assert [state.label for state in TaskState if f"\n| {state.label} |" not in text] == []
    assert re.findall(r"^\| (T\d+) ", text, re.MULTILINE) == [f"T{number}" for number in range(1, 15)]


# -- Tables in the guides


def cells_of(page: str, word: str) -> list[str]:
    return next(
        line.strip("|").split(" | ")
        for line in (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{word}`")
    )


@pytest.mark.parametrize("field", Retry.__struct_fields__)
def test_the_retry_guide_has_every_field_with_its_default(field: str) -> None:
    default = dict(zip(Retry.__struct_fields__, Retry.__struct_defaults__, strict=True))[field]
    told = cells_of("retries.md", field)[1].strip().strip("`")
    assert told in {str(default), as_told(default), "1 h", "(Exception,)"}


def test_the_command_guide_has_every_parameter_of_allow() -> None:
    text = (ROOT / "docs" / "how-to" / "commands.md").read_text(encoding="utf-8")
    names = inspect.signature(CommandRegistry.allow).parameters.keys() - {"self"}
    assert [name for name in names if f"{name}`" not in text] == []


def test_the_cancel_guide_has_every_answer() -> None:
    assert all(cells_of("cancel.md", answer.value) for answer in CancelResult)


def test_what_is_stored_of_a_task_is_plain_data() -> None:
    """The reference promises JSON with these two keys."""
    from kokugen.codec import encode_params
    from kokugen.task import Params

    assert msgspec.json.decode(encode_params(Params((1,), {"a": 2}))) == {"args": [1], "kwargs": {"a": 2}}
