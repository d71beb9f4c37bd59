"""NG and ERROR parts, in a folder that never fills the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import pytest
from results import SOFT, result_of

from edge.result import Verdict
from edge.sinks.disk_quota import MIB, DiskLimits
from edge.sinks.kept_parts import KeptPartsSink, folder_of
from edge.sinks.sink import SinkError


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_bad_parts_are_kept_as_they_came_drawn_and_as_a_line(tmp_path) -> None:
    with KeptPartsSink(tmp_path / "kept") as sink:
        sink.write(result_of(0))
        sink.write(result_of(1, Verdict.NG))
        for number in range(2, 30):
            sink.write(result_of(number, Verdict.ERROR, reason=f"no frame for {number}.0 s"))
        sink.write(result_of(30, Verdict.ERROR, reason="the engine failed"))
    names = names_in(tmp_path)
    ng = "20260131T095500.163Z_000001_NG_part-7"
    assert [name for name in names if "_NG_" in name] == [
        *(f"{ng}.json", f"{ng}.png", f"{ng}_drawn.jpg")
    ]
    # An outage is told once, not with each frame.
    assert [name.split("_")[1] for name in names if "ERROR" in name] == ["000002", "000030"]
    day = tmp_path / "kept" / "20260131"
    assert json.loads((day / f"{ng}.json").read_text()) == result_of(1, Verdict.NG).to_json()
    assert (cv2.imread(str(day / f"{ng}.png")) == SOFT).all()
    assert sink.losses.total == 0


def test_a_share_of_the_ok_parts_is_kept_evenly(tmp_path) -> None:
    with KeptPartsSink(tmp_path, share_ok=0.1) as sink:
        for number in range(100):
            sink.write(result_of(number))
    kept = sorted(int(path.name.split("_")[1]) for path in tmp_path.rglob("*.png"))
    assert kept == list(range(9, 100, 10))


def test_the_oldest_make_room(tmp_path) -> None:
    with KeptPartsSink(tmp_path, limits=DiskLimits(100_000)) as sink:
        for number in range(200):
            sink.write(result_of(number, Verdict.NG))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 100_000
    assert sorted({path.name.split("_")[1] for path in files})[-1] == "000199"
    assert sink.losses.total == 0
    # What an earlier run left counts as well.
    with KeptPartsSink(tmp_path, limits=DiskLimits(30_000)) as sink:
        sink.write(result_of(200, Verdict.NG))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30_000


@pytest.fixture
def small_disk(disk_of) -> Path:
    return disk_of(mib=4)


def test_a_disk_that_others_fill_is_left_its_last_bytes(small_disk, caplog) -> None:
    limits = DiskLimits(min_free_bytes=MIB)
    with KeptPartsSink(small_disk / "kept", limits=limits) as sink:
        for number in range(400):
            sink.write(result_of(number, Verdict.NG))
        assert sink.losses.total == 0
        disk = os.statvfs(small_disk)
        assert disk.f_bavail * disk.f_frsize >= MIB
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(MIB))  # of what stays free: ours make room again
        for number in range(400, 500):
            sink.write(result_of(number, Verdict.NG))
        assert sink.losses.total == 0
        disk = os.statvfs(small_disk)
        assert disk.f_bavail * disk.f_frsize >= MIB
        with ballast.open("ab") as file:
            file.write(bytes(MIB - 65536))
        (small_disk / "kept").joinpath("more").touch()
        for path in sorted((small_disk / "kept").rglob("*_NG_*")):
            path.unlink()  # somebody clears up, and fills what was cleared
        with ballast.open("ab") as file:
            disk = os.statvfs(small_disk)
            file.write(bytes(disk.f_bavail * disk.f_frsize - MIB // 2))
        sink.write(result_of(500, Verdict.NG))
        assert sink.losses.total == 1
        assert "must stay free" in sink.losses.trouble
        ballast.unlink()
        sink.write(result_of(501, Verdict.NG))
        assert sink.losses.trouble == ""
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_folder_that_cannot_be_had_is_told_before_the_start(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="name another folder"):
        KeptPartsSink(tmp_path / "file")


@pytest.mark.parametrize("camera", ["shadow", "marked", "results.db", "results.db-wal", "20260131"])
def test_a_camera_by_the_name_of_something_else_there_is_refused(tmp_path, camera) -> None:
    with pytest.raises(SinkError, match=f"camera {camera}: .*give the camera another name"):
        folder_of(tmp_path, camera)
    for good in ("", "line3", "shadow2", "2026"):
        assert folder_of(tmp_path, good) == tmp_path / good
