"""Five thousand images are compared within a minute of processor time, and rightly."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.sketches import Sketch, sketch_of

pytestmark = pytest.mark.soak

SIDE = 160
THINGS, SHOTS = 500, 10


def draw(seed: int) -> np.ndarray:
    """A disc in a fixture: its texture alone is its own."""
    random = np.random.default_rng(seed)
    picture = np.full((SIDE, SIDE), 190, np.float32)
    cv2.circle(picture, (80, 80), 66, 110, -1, cv2.LINE_AA)
    texture = cv2.GaussianBlur(random.normal(0, 40, picture.shape).astype(np.float32), (0, 0), 1.2)
    picture[picture < 150] += texture[picture < 150]
    return picture


def shot(picture: np.ndarray, seed: int) -> Sketch:
    random = np.random.default_rng(seed)
    matrix = np.array([[1, 0, random.uniform(-1, 1)], [0, 1, random.uniform(-1, 1)]], np.float32)
    moved = cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    noisy = moved * random.uniform(0.95, 1.05) + random.normal(0, 2, moved.shape)
    grey = noisy.clip(0, 255).astype(np.uint8)
    return sketch_of(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def test_five_thousand_images() -> None:
    pictures = [draw(seed) for seed in range(THINGS)]
    order = np.random.default_rng(1).permutation(THINGS * SHOTS)
    sketches = [shot(pictures[one % THINGS], int(one)) for one in order]
    begun = time.process_time()
    found = clusters_of_sketches(sketches)
    assert time.process_time() - begun < 60
    assert found.count == THINGS
    things = order % THINGS
    assert all(len({int(thing) for thing in things[group]}) == 1 for group in found.shared)
