"""What is printed: nothing stored can steer a terminal."""

from __future__ import annotations

import pytest

from kokugen.cli.console import complain, cut, escaped, say_table


@pytest.mark.parametrize("char", ["\x1b", "\n", "\r", "\x07", "\x7f", "\x9b", "\u202e", "\u2028", "\ud800"])
def test_characters_that_could_steer_a_terminal_are_escaped(char: str) -> None:
    assert escaped(f"a{char}b").isprintable()
    assert escaped(f"a{char}b").startswith("a\\")


def test_ordinary_text_stays_as_it_is() -> None:
    assert escaped("Zürich 刻限 🫖") == "Zürich 刻限 🫖"


def test_a_complaint_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("first\nsecond\x1b[2J", 2) == 2
    assert capsys.readouterr().err == "kokugen: first second\\x1b[2J\n"


def test_a_table_has_straight_columns(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([("a", "long cell"), ("longer", "b")], ("X", "Y"))
    assert capsys.readouterr().out == "X       Y\na       long cell\nlonger  b\n"


def test_a_cell_is_cut_but_never_an_id(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([("i" * 100, "c" * 100)], None)
    assert capsys.readouterr().out == f"{'i' * 100}  {cut('c' * 100)}\n"
    assert len(cut("c" * 100)) == 60
