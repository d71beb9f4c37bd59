"""Pictures and clips of NG and ERROR parts, in a folder that never fills the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import frames_in

from edge.result import Result, Verdict
from edge.sinks.disk_quota import MIB, Quota
from edge.sinks.files import SinkError
from edge.sinks.kept_parts import KeepOptions, KeepSink

START_NS = 1_769_853_300_123_000_000
NOISE = cv2.resize(
    np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (64, 48)
)  # soft, so that JPEG keeps it


def result_of(number: int, verdict: Verdict = Verdict.OK, *, reason: str = "") -> Result:
    return Result(
        source="parts/part 7.png",
        frame=number,
        captured_at_ns=START_NS + number * 40_000_000,
        verdict=verdict,
        score=0.25,
        threshold=0.5,
        reason=reason,
        image=None if reason else NOISE,
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_bad_parts_are_kept_as_they_came_drawn_and_as_a_line(tmp_path) -> None:
    with KeepSink(tmp_path / "kept") as sink:
        sink.write(result_of(0))
        sink.write(result_of(1, Verdict.NG))
        for number in range(2, 30):
            sink.write(result_of(number, Verdict.ERROR, reason=f"no frame for {number}.0 s"))
        sink.write(result_of(30, Verdict.ERROR, reason="the engine failed"))
    names = names_in(tmp_path)
    ng = "20260131T095500.163Z_000001_NG_part-7"
    assert [name for name in names if "_NG_" in name] == [
        *(f"{ng}.jpg", f"{ng}.json", f"{ng}_drawn.jpg")
    ]
    # An outage is told once, not with each frame.
    assert [name.split("_")[1] for name in names if "ERROR" in name] == ["000002", "000030"]
    day = tmp_path / "kept" / "20260131"
    assert json.loads((day / f"{ng}.json").read_text()) == result_of(1, Verdict.NG).to_json()
    picture = cv2.imread(str(day / f"{ng}.jpg"))
    assert np.abs(picture.astype(int) - NOISE).mean() < 12
    assert sink.lost == 0


def test_a_clip_shows_what_came_before_and_after(tmp_path, monkeypatch) -> None:
    clock = [0]
    monkeypatch.setattr("edge.sinks.kept_parts.time.monotonic_ns", lambda: clock[0])
    with KeepSink(tmp_path, options=KeepOptions(clip_s=0.4)) as sink:
        for number in range(100):
            clock[0] = number * 40_000_000
            verdict = Verdict.NG if number in (30, 35, 80) else Verdict.OK
            sink.write(result_of(number, verdict))
    clips = [path for path in sorted(tmp_path.rglob("*")) if path.suffix == ".avi"]
    assert [path.name.split("_")[1] for path in clips] == ["000030", "000080"]
    # 11 before, the part itself, 5 to the next part, 10 after.
    assert [frames_in(clip) for clip in clips] == [27, 22]
    assert sink.lost == 0


def test_the_oldest_make_room(tmp_path) -> None:
    with KeepSink(tmp_path, options=KeepOptions(most_bytes=100_000)) as sink:
        for number in range(200):
            sink.write(result_of(number, Verdict.NG))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 100_000
    assert sorted({path.name.split("_")[1] for path in files})[-1] == "000199"
    assert sink.lost == 0
    # What an earlier run left counts as well.
    with KeepSink(tmp_path, options=KeepOptions(most_bytes=30_000)) as sink:
        sink.write(result_of(200, Verdict.NG))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30_000


def test_only_what_is_ours_is_removed(tmp_path) -> None:
    day, other = tmp_path / "20200101", tmp_path / "20200102"
    for folder in (day, other):
        folder.mkdir()
    ours = day / "20200101T000000.000Z_000001_NG_x.jpg"
    half = day / "20200101T000000.000Z_000002_NG_x.jpg.part"
    theirs = [day / "notes.txt", tmp_path / "report.jpg", other / "linked"]
    for path in (ours, half, *theirs[:2]):
        path.write_bytes(b"x" * 1000)
    secret = tmp_path.parent / "elsewhere.jpg"
    secret.write_bytes(b"x" * 1000)
    (other / "20200102T000000.000Z_000001_NG_x.jpg").symlink_to(secret)
    theirs[2].touch()
    quota = Quota(tmp_path, most_bytes=1000, least_free_bytes=0)
    assert quota.used_bytes == 1000
    quota.make_room(500)
    assert not ours.exists()
    assert not half.exists()
    assert all(path.exists() for path in (*theirs, secret))


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=30), st.integers(1, 1000))
def test_a_folder_never_holds_more_than_it_may(sizes, most) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quota = Quota(folder, most_bytes=most, least_free_bytes=0)
        kept = 0
        for number, size in enumerate(sizes):
            try:
                quota.make_room(size)
            except OSError:
                assert size > most
                continue
            path = quota.path_for(f"202601{number:02d}T000000.000Z_{number:06d}_NG.jpg")
            path.write_bytes(b"x" * size)
            quota.add(path)
            files = [one for one in folder.rglob("*") if one.is_file()]
            assert sum(one.stat().st_size for one in files) == quota.used_bytes <= most
            kept += 1
            assert path.exists()
        assert Quota(folder, most_bytes=most, least_free_bytes=0).used_bytes == quota.used_bytes


@pytest.fixture
def small_disk(disk_of) -> Path:
    return disk_of(mib=4)


def test_a_disk_that_others_fill_is_left_its_last_bytes(small_disk, caplog) -> None:
    options = KeepOptions(least_free_bytes=MIB)
    with KeepSink(small_disk / "kept", options=options) as sink:
        for number in range(400):
            sink.write(result_of(number, Verdict.NG))
        assert sink.lost == 0
        disk = os.statvfs(small_disk)
        assert disk.f_bavail * disk.f_frsize >= MIB
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(MIB))  # of what stays free: ours make room again
        for number in range(400, 500):
            sink.write(result_of(number, Verdict.NG))
        assert sink.lost == 0
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
        assert sink.lost == 1
        assert "shall stay free" in sink.trouble
        ballast.unlink()
        sink.write(result_of(501, Verdict.NG))
        assert sink.trouble == ""
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_clip_on_a_full_disk_is_told_and_the_line_goes_on(small_disk) -> None:
    options = KeepOptions(least_free_bytes=0, clip_s=1.0)
    with KeepSink(small_disk / "kept", options=options) as sink:
        for number in range(50):
            sink.write(result_of(number, Verdict.NG))
    assert sink.lost == 50
    assert "free" in sink.trouble


def test_a_folder_that_cannot_be_had_is_told_before_the_start(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="name another folder"):
        KeepSink(tmp_path / "file")
