"""Each hole of the original package, H1 to H11, has a regression test that is named after it."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def test_every_hole_has_a_test_named_after_it() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    named = {
        int(number) for text in texts for number in re.findall(r"^(?:async )?def test_h(\d+)_", text, re.MULTILINE)
    }
    assert named == set(range(1, 12))
