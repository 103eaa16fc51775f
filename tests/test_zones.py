"""Zones by name come from the tzdata package first, so that nodes with the same package agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfoNotFoundError

import pytest

from kokugen import zones
from kokugen.zones import load_zone, tz_version


def test_every_zone_of_the_package_can_be_loaded_by_its_name() -> None:
    names = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    assert len(names) > 550
    assert [name for name in names if load_zone(name).key != name] == []


def test_a_zone_is_of_the_package_whatever_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(key: str) -> None:
        raise AssertionError(f"{key} was asked of the system")

    monkeypatch.setattr(zones, "_system_zone", refuse)
    load_zone.cache_clear()
    zone = load_zone("Europe/Berlin")
    assert datetime(2026, 7, 1, tzinfo=zone).utcoffset() == timedelta(hours=2)
    assert load_zone("Europe/Berlin") is zone


def test_without_the_package_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(resources, "files", missing)
    load_zone.cache_clear()
    assert load_zone("UTC").utcoffset(datetime(2026, 1, 1, tzinfo=UTC)) == timedelta(0)
    load_zone.cache_clear()


@pytest.mark.parametrize("name", ["Mars/Base", "Europe", "zone.tab", "__init__.py", "x" * 300, "é"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises((ZoneInfoNotFoundError, ValueError)):
        load_zone(name)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "Europe/../../x", "", "Europe/Berlin\0", "..", "a\\b"]
)
def test_a_name_leads_nowhere_else(name: str) -> None:
    with pytest.raises((ValueError, ZoneInfoNotFoundError)):
        load_zone(name)


def test_the_version_is_that_of_the_package() -> None:
    assert tz_version() == version("tzdata")
