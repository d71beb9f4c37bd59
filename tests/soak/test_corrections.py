"""A bundle is corrected, taken back, killed, out of room: it is always the old or the new one."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engines.versions import KEPT, promote, roll_back, versions_of

ROUNDS = 1_000
SCRIPT = "import sys; from test_corrections import correct_for_ever; correct_for_ever(sys.argv[1])"


def correct_for_ever(path: str) -> None:
    """Fork one child or two for each round, which teach and take back until they are killed."""
    import cv2

    from edge.teaching.marked_parts import MarkedParts
    from edge.teaching.teach import correct
    from engines.bundle import Bundle

    folder, bundle = Path(path), Path(path) / "line.edge"
    image = cv2.imread(str(bundle / "golden" / "good.png"))
    cv2.circle(image, (50, 64), 7, (40, 90, 200), -1)
    cv2.imwrite(str(folder / "part.png"), image)
    marked = MarkedParts([folder / "part.png"], [])
    opened = Bundle.open(bundle)
    correction = correct(opened, marked, engine="onnxruntime", leave_out=False)
    known = [correction.bundle.manifest.prototypes, correction.manifest.prototypes]
    chance = random.Random(0)
    seen = dict.fromkeys(known, 0)
    versions: dict[int, bytes] = {}
    for number in range(int(os.environ.get("ROUNDS", ROUNDS))):
        children = [
            _fork(bundle, correction, seed=2 * number + one) for one in range(1 + number % 2)
        ]
        time.sleep(chance.random() * 0.6)
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), "it ended by itself, with what is in stderr"
        seen[Bundle.open(bundle).manifest.prototypes] += 1
        versions = _check_versions(bundle, versions)
    _check_versions(bundle, {})
    assert all(seen.values()), seen
    assert max(versions) > KEPT, versions
    print(seen, max(versions))


def _fork(bundle: Path, correction, *, seed: int) -> int:
    child = os.fork()
    if child == 0:
        _correct_until_killed(bundle, correction, seed=seed)
    return child


def _check_versions(bundle: Path, before: dict[int, bytes]) -> dict[int, bytes]:
    """None is lost but where ten later ones are there, and each is what it was, and whole."""
    from engines.bundle import Bundle

    after = {one.number: (one.path / "manifest.json").read_bytes() for one in versions_of(bundle)}
    for number, manifest in before.items():
        assert after.get(number, manifest) == manifest
        assert number in after or sum(one > number for one in after) >= KEPT, (before, after)
    for one in versions_of(bundle):
        if one.number not in before:
            Bundle.open(one.path)
    return after


def _correct_until_killed(bundle: Path, correction, *, seed: int) -> None:
    from edge.inspection.settings import SettingsError, change_settings
    from engines.bundle import Bundle
    from engines.errors import BundleError

    chance = random.Random(seed)
    if chance.random() < 0.3:  # the disk is full after so many bytes of a file
        size = chance.choice([0, 1_000, 100_000])
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    while True:
        what = chance.random()
        try:
            now = Bundle.open(bundle)
            if now.manifest.prototypes == correction.bundle.manifest.prototypes and what < 0.5:
                replace(correction, bundle=now).put_in_service(by="soak")
            elif what < 0.6:
                # Ten later versions push the first one out: then it comes back this way alone.
                promote(Bundle.open(bundle.with_name("first.edge")), bundle)
            elif what < 0.8:
                change_settings(bundle, min_area=chance.randrange(1, 100))
            elif versions_of(bundle):
                number = chance.choice([None, *(one.number for one in versions_of(bundle))])
                roll_back(bundle, number)
        except (BundleError, SettingsError):  # somebody else was quicker, or the disk is full
            time.sleep(0.001)


@pytest.mark.soak
def test_it_is_always_the_old_or_the_new_one(bundle, tmp_path) -> None:
    shutil.copytree(bundle, tmp_path / "line.edge")
    shutil.copytree(bundle, tmp_path / "first.edge")
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    leftovers = [one.name for one in tmp_path.iterdir() if ".new-" in one.name]
    assert len(leftovers) <= 1
