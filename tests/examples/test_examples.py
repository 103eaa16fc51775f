"""Each example runs to its end, and does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAID = {
    "ten_lines.py": ["Ann: Tea!"],
    "async_reminders.py": ["Ann: Tea!", "Bob: Tea!", "Cleo: Tea!", "12 characters were sent"],
    "retries.py": ["attempt 1 of", "attempt 2 of", "attempt 3 of", "fetched", "Cancelled: 'We are hiring' is old news"],
    "outbox.py": ["not scheduled: order 3", "Done after 2 attempts", "Dear Ann, thank you!\nDear Bob, thank you!\n"],
    "commands.py": ["Hello Ann", "refused: argument 'who'"],
    "seed_repository.py": ["Ann: Tea!", "Bob: Tea!", "Done: 2"],
}
SERVED = {"web.py": "tests/integration/test_gunicorn.py"}


@pytest.mark.parametrize("name", SAID)
def test_an_example_runs_to_its_end(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    for words in SAID[name]:
        assert words in ended.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SAID.keys() | SERVED.keys()
