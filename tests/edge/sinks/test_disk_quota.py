"""A folder that never fills the disk, and removes nothing but its own files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sinks.disk_quota import DiskLimits, DiskQuota


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
    quota = DiskQuota(tmp_path, DiskLimits(1000, min_free_bytes=0))
    assert quota.used_bytes == 1000
    quota.make_room(500)
    assert not ours.exists()
    assert not half.exists()
    assert all(path.exists() for path in (*theirs, secret))


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=30), st.integers(1, 1000))
def test_a_folder_never_holds_more_than_it_may(sizes, most) -> None:
    limits = DiskLimits(most, min_free_bytes=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quota = DiskQuota(folder, limits)
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
            assert path.exists()
        quota.close()
        assert DiskQuota(folder, limits).used_bytes == quota.used_bytes
