"""12-bit values in 16-bit files: an inspector of them is that of the same pictures in 8 bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.bundle import Bundle


def to_twelve_bits(folder: Path) -> None:
    """Write each picture anew, with four more bits of noise, in 16-bit files."""
    random = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.png")):
        if "ground_truth" not in path.parts:
            image = cv2.imread(str(path)).astype(np.uint16)
            assert cv2.imwrite(str(path), (image << 4) + random.integers(0, 16, image.shape, "u2"))


def test_a_bit_depth_is_taken_by_all_that_read_files(run, built, drawn, small, tmp_path) -> None:
    deep = Path(shutil.copytree(drawn, tmp_path / "deep"))
    to_twelve_bits(deep)
    outcome = run("build", deep, "--output", "deep.edge", "--bit-depth", 12, *small, "--size", 128)
    assert outcome.code == 0, outcome.err
    assert "brightest pixel" not in outcome.err
    bundle, plain = Bundle.open("deep.edge").manifest, Bundle.open(built).manifest
    assert bundle.bit_depth == 12
    assert bundle.threshold.value == pytest.approx(plain.threshold.value, rel=1e-5)
    assert bundle.figures == pytest.approx(plain.figures, rel=1e-5)
    found = json.loads(run("evaluate", "deep.edge", deep, "--json").out)
    assert found["escapes"] == plain.figures["escapes"]

    def verdicts(folder: Path, *words: object) -> tuple[int, int, int]:
        told = json.loads(run("stream", folder / "test/missing_hole", *words, "--json").out)
        return told["ok"], told["ng"], told["error"]

    assert verdicts(deep, "--bundle", "deep.edge") == verdicts(drawn, "--bundle", built)
    assert verdicts(deep, "--bundle", built) == (0, 0, 1)  # 16 of 255: black
    assert verdicts(deep, "--bundle", built, "--bit-depth", 12) == (0, 1, 0)
