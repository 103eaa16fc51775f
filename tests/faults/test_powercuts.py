"""What power cuts and faults of the disk leave of a store in a file: the tests of those rows of the chaos themselves.

A test that looks for losses must be able to find them: it does where SQLite is told not to wait for the disk.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import apsw
import pytest

from kokugen.task_storage.leasing import LeasedTasks
from tests.faults.disk import Disk
from tests.faults.diskwork import DiskWork
from tests.faults.judge import Kind
from tests.faults.powercuts import PowerCuts, Way

CUTS = 144
SEED = 20260101


def found(folder: Path, way: Way, cuts: int = CUTS) -> PowerCuts:
    made = PowerCuts(folder, Random(SEED), way)
    made.inflict(cuts)
    return made


@pytest.mark.parametrize("log", [True, False], ids=["log", "journal"])
def test_a_store_that_does_not_wait_for_the_disk_is_found_to_lose_and_damage(tmp_path: Path, log: bool) -> None:
    kinds = {verdict.kind for verdict in found(tmp_path, Way(log=log, synchronous="OFF")).verdicts}
    assert kinds == {Kind.LOST, Kind.UNEXPLAINED}


def test_a_store_that_waits_for_checkpoints_alone_loses_but_is_never_damaged(tmp_path: Path) -> None:
    kinds = {verdict.kind for verdict in found(tmp_path, Way(synchronous="NORMAL"), cuts=60).verdicts}
    assert kinds == {Kind.LOST}


@pytest.mark.parametrize("log", [True, False], ids=["log", "journal"])
def test_an_engine_whose_store_does_not_wait_for_the_disk_is_found_to_break_its_promises(
    tmp_path: Path, log: bool
) -> None:
    work = DiskWork(tmp_path, Random(SEED), Way(log=log, synchronous="OFF"))
    work.cut_power(12)
    assert work.verdicts()


def test_an_engine_that_gives_up_what_the_disk_refused_is_found_to_do_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def give_up(tasks: LeasedTasks) -> bool:
        tasks._outbox.clear()
        return True

    monkeypatch.setattr(LeasedTasks, "flush", give_up)
    work = DiskWork(tmp_path, Random(SEED), Way())
    work.fail(10)
    assert Kind.DOUBLED in {verdict.kind for verdict in work.verdicts()}


# -- The disk itself


class Bench:
    """A file on a disk."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        (folder / "on").mkdir()
        (folder / "on" / "file").touch()
        self.disk = Disk(folder / "on", Random(seed))
        flags = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_READWRITE
        self.file = self.disk.xOpen(str(folder / "on" / "file-wal"), [flags, 0])

    def left(self) -> dict[str, bytes]:
        """Cut the power, and return what there is afterwards."""
        with pytest.raises(apsw.IOError):
            self.disk.cut()
        assert self.disk.left is not None
        return self.disk.left


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_and_what_is_written_beside_it_changes_nothing_of_it(
    tmp_path: Path, seed: int
) -> None:
    bench = Bench(tmp_path, seed)
    bench.file.xWrite(b"synced", 0)
    bench.file.xSync(0)
    bench.file.xWrite(b"cached", 6)
    assert bench.left()["file-wal"][:6] == b"synced"


def test_what_was_not_synced_can_be_read_and_may_be_gone(tmp_path: Path) -> None:
    seen = set()
    for seed in range(40):
        (folder := tmp_path / str(seed)).mkdir()
        bench = Bench(folder, seed)
        bench.file.xSync(0)
        bench.file.xWrite(b"first", 0)
        bench.file.xWrite(b"second", 512)
        assert bench.file.xRead(5, 0) == b"first"
        left = bench.left()["file-wal"].ljust(1024, b"\0")
        seen.add((left[:5] == b"first", left[512:518] == b"second"))
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def test_a_file_whose_folder_was_not_synced_may_be_gone_or_there_again(tmp_path: Path) -> None:
    seen = set()
    for seed in range(20):
        (folder := tmp_path / str(seed)).mkdir()
        bench = Bench(folder, seed)
        if deleted := seed % 2 == 1:
            bench.file.xSync(0)
            bench.disk.xDelete(str(folder / "on" / "file-wal"), False)
        seen.add((deleted, "file-wal" in bench.left()))
    assert seen == {(False, False), (False, True), (True, False), (True, True)}
    synced = Bench(tmp_path)
    synced.file.xSync(0)
    synced.disk.xDelete(str(tmp_path / "on" / "file-wal"), True)
    assert synced.left().keys() == {"file"}


def test_a_failing_disk_fails_until_it_is_whole_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.disk.fault = "full"
    with pytest.raises(apsw.FullError):
        bench.file.xWrite(b"x", 0)
    bench.disk.fault = None
    bench.file.xWrite(b"x", 0)
    assert bench.file.xRead(1, 0) == b"x"
    assert bench.disk.happened["full: write"] == 1
