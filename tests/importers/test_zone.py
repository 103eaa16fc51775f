"""The zone that this machine's cron runs in, by its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kokugen.errors import OptionError
from kokugen.importers import zone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="/etc/localtime is of POSIX systems")


@pytest.fixture
def localtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "localtime"
    monkeypatch.setattr(zone, "LOCALTIME", path)
    monkeypatch.delenv("TZ", raising=False)
    return path


def test_it_is_what_localtime_points_at(localtime: Path) -> None:
    there = localtime.parent / "usr" / "share" / "zoneinfo" / "Europe"
    there.mkdir(parents=True)
    (there / "Berlin").touch()
    localtime.symlink_to(there / "Berlin")
    assert zone.local_zone() == "Europe/Berlin"


def test_it_is_utc_where_nothing_says_another(localtime: Path) -> None:
    assert not localtime.exists()
    assert zone.local_zone() == "UTC"


@pytest.mark.parametrize("value", ["Asia/Tokyo", ":Asia/Tokyo", "/usr/share/zoneinfo/Asia/Tokyo"])
def test_the_variable_goes_first(value: str, localtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    localtime.touch()
    monkeypatch.setenv("TZ", value)
    assert zone.local_zone() == "Asia/Tokyo"


def test_one_without_a_name_is_asked_for(localtime: Path) -> None:
    localtime.touch()
    with pytest.raises(OptionError, match="say --tz"):
        zone.local_zone()
