"""What counts as the output that a page shows, and what does not: the judge of all the other tests here."""

from __future__ import annotations

import pytest

from tests.docs.likeness import Shown

ID = "01a20ef6-0b5a-7c0e-8d1f-6a2b3c4d5e6f"
OTHER = "01a20f1c-8a3e-7b52-9d70-5f0c64f1a2be"


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("done\n", "done\n"),
        ("done", "\ndone  \n\n"),
        (f"{ID}  Done", f"{OTHER}  Done"),
        ("in 4.8 s", "in 12 min"),
        ("ID    STATE", "ID STATE"),
        ("2026-11-24 18:00:23.140Z", "2027-01-01 00:00:00.000Z"),
        ("sqlite:////srv/shop/shop.db", "sqlite:////somewhere/else/shop.db"),
        ("sqlite 3.54.1", "sqlite 3.60.0"),
        ("[1] 4242\nready", "ready"),
        ("ready", "bash: line 4: 17 Killed     kokugen worker a:b\nready"),
        ("first\n…\nlast", "first\nthis\nand that\nlast"),
        ("File …, line 3", 'File "/a/b.py", line 3'),
    ],
)
def test_what_differs_from_run_to_run_may_differ(shown: str, came: str) -> None:
    assert Shown(shown).names(came) is not None


@pytest.mark.parametrize(
    ("shown", "came"),
    [
        ("done", "failed"),
        ("done", "done\nand more"),
        ("", "anything"),
        ("one\ntwo", "one"),
        ("2030-12-24 17:00:00.000Z", "2030-12-24 18:00:00.000Z"),
        ("3 tasks", "4 tasks"),
        ("sqlite:////srv/shop.db", "sqlite:////srv/other.db"),
        ("first\n…\nlast", "first\nthis"),
        ("File …, line 3", "File x\n, line 3"),
    ],
)
def test_everything_else_may_not(shown: str, came: str) -> None:
    assert Shown(shown).names(came) is None


def test_the_ids_of_a_page_are_learned_from_what_came() -> None:
    shown = Shown(f"process 4242 took {ID}")
    assert shown.names(f"process 17 took {OTHER}") == {"4242": "17", ID: OTHER}


def test_lines_of_several_processes_may_come_in_any_order() -> None:
    shown = Shown(f"process 4242 runs\n{ID}  planned\nAnn: tea\n")
    came = f"Ann: tea\n{OTHER}  planned\nprocess 17 runs\n"
    assert shown.names(came, any_order=True) == {"4242": "17", ID: OTHER}
    assert shown.names(came) is None
    assert Shown("b\n…\na\n").names("x\na\ny\nb\n", any_order=True) == {}


@pytest.mark.parametrize("came", ["a\nb\nb\n", "a\n", "a\nb\nc\n"])
def test_even_so_each_line_comes_once_and_no_other_does(came: str) -> None:
    assert Shown("b\na\n").names(came, any_order=True) is None
