"""The examples as modules of their own: each test loads one anew, with a store of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def loaded(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example of this name, over this store."""
    monkeypatch.setenv("KOKUGEN_URL", url)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
