"""A bundle while it is written: a full disk, no permission, a kill at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from bundle_files import BASE, leftovers, manifest

from engines import atomic_files
from engines.bundle import Bundle, write_bundle
from engines.errors import BundleError

FULL_DISK = """
import resource, sys
from pathlib import Path
from engines.bundle import Bundle, write_bundle
from engines.changes import edit_manifest
from engines.errors import BundleError
target = Path(sys.argv[1])
old = Bundle.open(target)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    if sys.argv[3] == "write":
        files = {name: old.read(name) for name in old.manifest.files}
        write_bundle(target, manifest=old.manifest, files=files)
    else:
        edit_manifest(old, min_area=3)
except BundleError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 300, 1000])
@pytest.mark.parametrize("action", ["write", "edit"])
def test_a_full_disk_leaves_the_old_bundle(bundle, limit, action) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(bundle.path), str(limit), action],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert "cannot be written: File too large" in ran.stdout
    assert ran.stdout.count("\n") == 1
    assert Bundle.open(bundle.path) == bundle
    assert leftovers(bundle.path.parent) == []
    assert leftovers(bundle.path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path, contents) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(BundleError, match="Permission denied"):
        write_bundle(locked / "b.edge", manifest=manifest(), files=contents)


FOREVER = """
import json, sys
from pathlib import Path
from engines import atomic_files
from engines.bundle import write_bundle
from engines.manifest import Manifest
target, source = Path(sys.argv[1]), Path(sys.argv[2])
if sys.argv[3] == "renames":
    atomic_files._exchange = lambda one, other: False
base = json.loads(sys.argv[4])
files = {"model.onnx": source, "golden/good.png": b"x" * 5000}
print("ready", flush=True)
seed = 0
while True:
    seed += 1
    write_bundle(target, manifest=Manifest.model_validate({**base, "seed": seed}), files=files)
"""


@pytest.mark.parametrize("way", ["exchange", "renames"])
def test_kills_leave_the_old_or_the_new_and_the_next_build_succeeds(
    tmp_path, contents, way
) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    target = folder / "bottle.edge"
    source = tmp_path / "model.onnx"
    source.write_bytes(contents["model.onnx"])
    write_bundle(target, manifest=manifest(seed=0), files=contents)
    chance = random.Random(way)
    arguments = [sys.executable, "-c", FOREVER, str(target), str(source), way, json.dumps(BASE)]
    seeds = set()
    for _ in range(8):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0, 0.15))
            writer.send_signal(signal.SIGKILL)
        seeds.add(Bundle.open(target).manifest.seed)
    assert len(seeds) > 1
    write_bundle(target, manifest=manifest(seed=-1), files=contents)
    assert Bundle.open(target).manifest.seed == -1
    assert leftovers(folder) == []


def test_a_build_in_progress_is_not_cleaned_away(tmp_path, contents) -> None:
    target = tmp_path / "bottle.edge"
    with atomic_files.staged_folder(target) as slow:
        (slow / "half").write_bytes(b"")
        write_bundle(target, manifest=manifest(), files=contents)
        assert (slow / "half").exists()
        shutil.rmtree(target)
    assert [found.name for found in target.iterdir()] == ["half"]
