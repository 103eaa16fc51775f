"""Each example runs to its end, and does what it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from kokugen.cli.worker import LOOK_S

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAID = {
    "ten_lines.py": ["Ann: Tea!"],
    "async_reminders.py": ["Ann: Tea!", "Bob: Tea!", "Cleo: Tea!", "12 characters were sent"],
    "retries.py": ["attempt 1 of", "attempt 2 of", "attempt 3 of", "fetched", "Cancelled: 'We are hiring' is old news"],
    "outbox.py": ["not scheduled: order 3", "Done after 2 attempts", "Dear Ann, thank you!\nDear Bob, thank you!\n"],
    "commands.py": ["Hello Ann", "refused: argument 'who'"],
    "seed_repository.py": ["Ann: Tea!", "Bob: Tea!", "Done: 2"],
}
SERVED = {
    "web.py": "tests/integration/test_gunicorn.py",
    "fastapi_app.py": "tests/integrations/test_asgi.py",
    "flask_app.py": "tests/integrations/test_flask.py",
}


@pytest.mark.parametrize("name", SAID)
def test_an_example_runs_to_its_end(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    for words in SAID[name]:
        assert words in ended.stdout


def test_the_unit_for_systemd_is_the_one_of_the_guide_and_has_what_a_worker_needs() -> None:
    unit = (EXAMPLES / "shop-worker.service").read_text(encoding="utf-8")
    guide = (EXAMPLES.parent / "docs" / "how-to" / "workers.md").read_text(encoding="utf-8")
    assert unit in guide
    parsed = ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign] # the names of systemd have capitals
    parsed.read_string(unit)
    service = parsed["Service"]
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    grace_s = int(service["ExecStart"].rpartition("--grace ")[2].removesuffix("s"))
    assert int(service["TimeoutStopSec"]) > grace_s
    assert int(service["WatchdogSec"]) >= 2 * LOOK_S


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not here: install it to have units verified"
)
def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    here = (
        (EXAMPLES / "shop-worker.service")
        .read_text(encoding="utf-8")
        .replace("/srv/shop/env/bin/kokugen", sys.executable)
    )
    (tmp_path / "shop-worker.service").write_text(here, encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "shop-worker.service")]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "shop-worker.service:" not in verified.stderr


def test_every_example_is_run() -> None:
    root = EXAMPLES.parent
    idle = [name for name, test in SERVED.items() if Path(name).stem not in (root / test).read_text(encoding="utf-8")]
    assert idle == []
    assert {path.name for path in EXAMPLES.glob("*.py")} == SAID.keys() | SERVED.keys()
