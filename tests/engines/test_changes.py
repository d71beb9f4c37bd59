"""Settings of a bundle that change without a build, and the record that is kept of it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest
from bundle_files import leftovers, manifest

from engines import changes as module
from engines.bundle import Bundle, write_bundle
from engines.changes import built_roi, built_threshold, edit_manifest
from engines.errors import BundleError
from engines.manifest import RoiRecord

ROI = RoiRecord(x=1, y=2, width=30, height=40)
MASK, OTHER = b"\x89PNG a mask", b"\x89PNG another mask"


def masks(bundle: Bundle) -> list[str]:
    return sorted(path.name for path in bundle.path.glob("ignore-*"))


def test_settings_change_without_a_rebuild(bundle, contents) -> None:
    before = {name: (bundle.path / name).stat().st_mtime_ns for name in contents}
    changed = edit_manifest(bundle, threshold=0.5, min_area=12, roi=ROI, ignore=MASK)
    again = Bundle.open(bundle.path)
    assert again == changed
    new = again.manifest
    assert (new.threshold.value, new.min_area, new.roi) == (0.5, 12, ROI)
    assert again.read(new.ignore) == MASK
    assert new.threshold.method == "manual"
    assert new.threshold.false_reject_bound is None
    assert {name: (bundle.path / name).stat().st_mtime_ns for name in contents} == before
    kept = edit_manifest(changed, threshold=0.75)
    assert (kept.manifest.min_area, kept.manifest.roi, masks(kept)) == (12, ROI, [new.ignore])


def test_who_changed_what_and_when_is_kept(bundle) -> None:
    edit_manifest(bundle, threshold=0.5, by="anna@line3")
    edit_manifest(bundle, ignore=MASK, roi=ROI)
    edit_manifest(bundle, ignore=OTHER)
    after = edit_manifest(bundle, ignore=None, roi=None, min_area=0)
    first, *rest = after.manifest.changes
    assert (first.by, first.setting, first.old, first.new) == ("anna@line3", "threshold", 0.25, 0.5)
    assert abs(datetime.now(timezone.utc) - first.changed) < timedelta(minutes=1)
    found = [(one.setting, one.old is None, one.new is None) for one in rest]
    assert found == [
        ("ignore", True, False),
        ("roi", True, False),
        ("ignore", False, False),
        ("ignore", False, True),
        ("roi", False, True),
    ]
    assert rest[2].old == rest[0].new
    assert masks(after) == [rest[2].new], "a reader may still have the manifest that names it"
    orphan = after.path / "ignore-0123456789ab.png"
    orphan.write_bytes(MASK)  # of a writer that was killed
    assert masks(edit_manifest(after, threshold=0.5, min_area=3)) == []
    assert (built_threshold(after.manifest), built_roi(after.manifest)) == (0.25, None)


def test_a_check_sees_the_bundle_that_is_changed_and_may_refuse(bundle) -> None:
    edit_manifest(bundle, min_area=5)
    seen = []

    def refuse(now: Bundle) -> None:
        seen.append(now.manifest.min_area)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        edit_manifest(bundle, threshold=0.5, check=refuse)
    assert seen == [5]
    assert Bundle.open(bundle.path).manifest.threshold.value == 0.25


def test_what_is_so_already_leaves_no_record(bundle) -> None:
    before = (bundle.path / "manifest.json").stat().st_mtime_ns
    same = edit_manifest(bundle, threshold=0.25, min_area=0, roi=None, ignore=None)
    assert same == bundle
    assert (bundle.path / "manifest.json").stat().st_mtime_ns == before
    masked = edit_manifest(bundle, ignore=MASK)
    assert edit_manifest(bundle, ignore=MASK) == masked
    assert masks(masked) == [masked.manifest.ignore]


def test_what_was_built_is_known_after_ever_so_many_changes(bundle, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_CHANGES", 5)
    edit_manifest(bundle, roi=ROI)
    for number in range(1, 20):
        after = edit_manifest(bundle, threshold=float(number)).manifest
    assert [one.new for one in after.changes] == [ROI, 1.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    assert (built_threshold(after), built_roi(after)) == (0.25, None)


@pytest.mark.parametrize(
    "bad", [{"threshold": float("nan")}, {"threshold": float("inf")}, {"min_area": -1}]
)
def test_values_that_make_no_sense_are_refused(bundle, bad) -> None:
    with pytest.raises(BundleError, match=r"should be a finite number|should be at least 0"):
        edit_manifest(bundle, **bad, ignore=MASK)
    assert Bundle.open(bundle.path) == bundle
    assert masks(bundle) == []


@pytest.mark.parametrize("fails", ["ignore-", "manifest.json"])
def test_a_disk_that_refuses_leaves_all_as_it_was(bundle, monkeypatch, fails) -> None:
    before = edit_manifest(bundle, ignore=MASK)
    replace = module.replace_file

    def refusing(path, content):
        if path.name.startswith(fails):
            raise OSError(28, "No space left on device")
        replace(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "replace_file", refusing)
        with pytest.raises(BundleError, match="No space left on device; it is as before"):
            edit_manifest(bundle, ignore=OTHER, threshold=0.5)
    assert Bundle.open(bundle.path) == before
    assert masks(before) == [before.manifest.ignore]
    assert leftovers(bundle.path) == []


def test_a_change_goes_to_the_bundle_that_is_there_now(bundle, contents) -> None:
    """It was built anew after it had been opened."""
    write_bundle(bundle.path, manifest=manifest(seed=7), files={**contents, "report.html": b"new"})
    after = edit_manifest(bundle, threshold=0.5)
    assert Bundle.open(bundle.path) == after
    assert (after.manifest.seed, after.manifest.threshold.value) == (7, 0.5)


def test_none_of_several_changes_at_once_is_lost_and_every_reader_finds_a_whole_bundle(
    bundle,
) -> None:
    over = threading.Event()
    seen: list[Bundle] = []

    def read() -> None:
        while not over.is_set():
            seen.append(Bundle.open(bundle.path))

    def change(by: str) -> None:
        for number in range(8):
            edit_manifest(bundle, ignore=f"{by} {number}".encode(), by=by)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=change, args=(name,)) for name in ("one", "two", "three")]
    reader.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    over.set()
    reader.join()
    after = Bundle.open(bundle.path)
    assert len(after.manifest.changes) == 24
    assert after.manifest.ignore in masks(after)
    assert len(masks(after)) == 2, "and the one before"
    assert seen, "the reader found no bundle"
