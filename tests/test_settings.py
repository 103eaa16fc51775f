"""Settings that cannot work are refused when they are made, not when the engine comes to need them."""

from __future__ import annotations

from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from kokugen.errors import OptionError
from kokugen.settings import Settings

DURATIONS = [name for name in Settings.__struct_fields__ if name.endswith("_s")]
KEPT = [name for name in Settings.__struct_fields__ if name.startswith("keep_")]
NUMBERS = [name for name in Settings.__struct_fields__ if name.endswith("_max")]


def test_every_setting_is_of_one_of_three_kinds() -> None:
    assert sorted(DURATIONS + KEPT + NUMBERS) == sorted(Settings.__struct_fields__)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, -inf, nan, "5", None, True, timedelta(seconds=5)], ids=str)
def test_a_duration_is_a_number_of_seconds(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name}="):
        Settings(**{name: value})


@pytest.mark.parametrize("name", DURATIONS)
def test_of_all_durations_only_the_ageing_may_never_end(name: str) -> None:
    if name == "ageing_s":
        assert Settings(ageing_s=inf).ageing_s == inf
        return
    with pytest.raises(OptionError, match=f"{name}=inf"):
        Settings(**{name: inf})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DURATIONS)
def test_only_a_few_durations_may_be_zero(name: str) -> None:
    if name in {"ahead_s", "grace_s", "late_s"}:
        assert getattr(Settings(**{name: 0}), name) == 0  # type: ignore[arg-type]
        return
    with pytest.raises(OptionError, match="above 0"):
        Settings(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("value", [7, "7 days", None, timedelta(seconds=-1)], ids=str)
def test_what_is_kept_is_kept_for_a_timedelta(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name}=.*timedelta"):
        Settings(**{name: value})
    assert getattr(Settings(**{name: timedelta(0)}), name) == timedelta(0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "9", None, True], ids=str)
def test_a_bound_is_a_whole_number(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name}="):
        Settings(**{name: value})


def test_a_lease_that_two_beats_could_not_keep_is_refused() -> None:
    with pytest.raises(OptionError, match="mistrust"):
        Settings(ttl_s=6)
    with pytest.raises(OptionError, match="ahead_s"):
        Settings(ahead_s=1.1)
