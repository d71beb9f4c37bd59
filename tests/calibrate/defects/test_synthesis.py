import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibrate.defects.pasted import paste_defect
from calibrate.defects.real import RealDefect, defects_from_folder
from calibrate.defects.synthesis import Synthesis
from calibrate.images import fit_image
from cameras.image_files import image_from_file

SEEDS = st.integers(0, 2**32)


def part(height, width, *, colour=(190, 200, 210), belt=(40, 45, 40)):
    """A disc before a belt, with some grain."""
    picture = np.full((height, width, 3), belt, np.uint8)
    cv2.circle(picture, (width // 2, height // 2), min(height, width) // 3, colour, -1)
    return cv2.add(picture, np.random.default_rng(1).integers(0, 6, picture.shape, dtype=np.uint8))


@st.composite
def images(draw):
    """Parts, noise, and pictures of one level, of any size."""
    height, width = draw(st.integers(32, 100)), draw(st.integers(32, 100))
    kind = draw(st.sampled_from(["part", "noise", "black", "grey", "white"]))
    if kind == "part":
        return part(height, width)
    if kind == "noise":
        return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    level = {"black": 0, "grey": 128, "white": 255}[kind]
    return np.full((height, width, 3), level, np.uint8)


def defect_of(height, width, *, seed=0):
    rng = np.random.default_rng(seed)
    image = part(height, width)
    mask = np.zeros((height, width), np.uint8)
    axes = (int(rng.integers(2, width // 5)), int(rng.integers(2, height // 5)))
    cv2.ellipse(mask, (width // 2, height // 2), axes, 30, 0, 360, 1, -1)
    image[mask > 0] = (20, 10, 220)
    return RealDefect(Path("seen.png"), "stain", "0" * 64, image, mask > 0)


def check(image, before, changed, mask):
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert (mask.shape, mask.dtype) == (image.shape[:2], np.bool_)
    assert np.array_equal(image, before)
    assert mask.any()
    assert np.array_equal(changed[~mask], image[~mask])
    difference = np.abs(changed.astype(int) - image).max(axis=2)
    assert difference[mask].mean() >= 8


@given(images(), SEEDS, st.sampled_from(["object", "texture", "auto"]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_simulated_anomalies_are_where_the_mask_says_and_can_be_seen(image, seed, scene):
    synthesis = Synthesis(scene=scene)
    before = image.copy()
    changed, mask = synthesis.simulate(image, np.random.default_rng(seed))
    check(image, before, changed, mask)
    assert not (mask & ~synthesis.foreground(image)).any()
    again = synthesis.simulate(image, np.random.default_rng(seed))
    assert np.array_equal(changed, again[0])
    assert np.array_equal(mask, again[1])


@given(st.integers(40, 100), st.integers(40, 100), SEEDS, st.booleans())
@settings(max_examples=80, deadline=None)
def test_extended_anomalies_lie_on_the_part(height, width, seed, whole):
    image, defect = part(height, width), defect_of(height, width, seed=seed)
    before, kept = image.copy(), (defect.image.copy(), defect.mask.copy())
    synthesis = Synthesis(defects=(defect,), scene="texture" if whole else "object")
    changed, mask = synthesis.extend(image, np.random.default_rng(seed))
    check(image, before, changed, mask)
    assert not (mask & ~synthesis.foreground(image) & ~defect.mask).any()
    assert np.array_equal(defect.image, kept[0])
    assert np.array_equal(defect.mask, kept[1])
    again = synthesis.extend(image, np.random.default_rng(seed))
    assert np.array_equal(changed, again[0])


def test_extended_anomalies_are_at_many_places_in_many_shapes():
    image, defect = part(96, 96), defect_of(96, 96)
    synthesis = Synthesis(defects=(defect,))
    masks = [synthesis.extend(image, np.random.default_rng(seed))[1] for seed in range(40)]
    assert len({mask.tobytes() for mask in masks}) == 40
    covered = np.any(masks, axis=0)
    assert (covered & synthesis.foreground(image)).sum() > 0.7 * synthesis.foreground(image).sum()
    areas = [np.count_nonzero(mask) for mask in masks]
    assert max(areas) > 1.5 * min(areas)


def test_a_defect_larger_than_the_part_is_pasted_where_it_was_seen():
    image = part(64, 64)
    mask = np.zeros((64, 64), np.bool_)
    mask[:60, :60] = True
    defect = RealDefect(Path("x.png"), "x", "", np.full_like(image, 120), mask)
    foreground = np.zeros((64, 64), np.bool_)
    foreground[63, 63] = True
    found = paste_defect(image, defect, foreground=foreground, rng=np.random.default_rng(0))[1]
    assert np.array_equal(found, mask)


def test_a_defect_that_cannot_be_seen_here_is_shown_as_it_was():
    image = np.full((64, 64, 3), 0, np.uint8)
    mask = np.zeros((64, 64), np.bool_)
    mask[20:30, 20:30] = True
    defect = RealDefect(Path("x.png"), "x", "", image.copy(), mask)
    shown = 0
    for seed in range(30):
        changed, found = Synthesis(defects=(defect,)).extend(image, np.random.default_rng(seed))
        if np.array_equal(changed, defect.image):
            assert np.array_equal(found, mask)
            shown += 1
        else:
            assert changed[found].mean() >= 8
    assert shown > 0


def test_a_call_mixes_the_kinds():
    image, defect = part(64, 64), defect_of(64, 64)
    rng = np.random.default_rng(0)
    results = [Synthesis(defects=(defect,))(image, rng) for _ in range(200)]
    real = sum(np.array_equal(changed, defect.image) for changed, _ in results)
    assert 10 <= real <= 45  # an eighth
    plain = Synthesis()
    mine, its = (
        plain(image, np.random.default_rng(4)),
        plain.simulate(image, np.random.default_rng(4)),
    )
    assert np.array_equal(mine[0], its[0])


def test_textures_from_outside_fill_the_anomalies_of_a_surface():
    rng = np.random.default_rng(0)
    surface = rng.integers(100, 110, (64, 64, 3), dtype=np.uint8)
    surface[..., 2] += 40
    texture = np.zeros((80, 80, 3), np.uint8)
    synthesis = Synthesis(textures=(texture,), scene="texture")
    for seed in range(20):
        changed, mask = synthesis.simulate(surface, np.random.default_rng(seed))
        assert changed[mask].std(axis=0).max() < 12  # the surface, shining through one colour


def test_grey_images_stay_grey():
    grey = part(64, 64, colour=(200, 200, 200), belt=(40, 40, 40))
    grey = cv2.cvtColor(cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    synthesis = Synthesis(defects=(defect_of(64, 64),))
    for seed in range(30):
        for make in (synthesis.simulate, synthesis.extend):
            changed, _ = make(grey, np.random.default_rng(seed))
            if not np.array_equal(changed, synthesis.defects[0].image):
                assert np.ptp(changed, axis=2).max() == 0


def test_real_defects_are_copies():
    defect = defect_of(64, 64)
    changed, mask = Synthesis(defects=(defect,)).real(np.random.default_rng(0))
    changed[:] = 0
    mask[:] = False
    assert defect.image.any()
    assert defect.mask.any()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((31, 64, 3), np.uint8),
    ],
)
def test_images_that_are_refused(image):
    with pytest.raises(ValueError, match=r"the image is .* give \(H, W, 3\) uint8"):
        Synthesis()(image, np.random.default_rng(0))
    with pytest.raises(ValueError, match="texture 0 is"):
        Synthesis(textures=(image,))


def test_settings_that_are_refused():
    with pytest.raises(ValueError, match="scene is 'belt'; use one of object, texture, auto"):
        Synthesis(scene="belt")
    with pytest.raises(ValueError, match="no real defects"):
        Synthesis().extend(part(64, 64), np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"seen\.png: read at \(64, 64\) and the image is \(48, 64\)"
    ):
        Synthesis(defects=(defect_of(64, 64),)).extend(part(48, 64), np.random.default_rng(0))


def test_threads_change_nothing():
    image, synthesis = part(64, 80), Synthesis(defects=(defect_of(64, 80),))

    def made(seed):
        changed, mask = synthesis(image, np.random.default_rng(seed))
        return changed.tobytes() + mask.tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(made, range(40))) == [made(seed) for seed in range(40)]


def test_it_needs_no_torch():
    modules = "calibrate.defects.detection, calibrate.defects.synthesis"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["bottle", "magnetic_tile"])
def test_real_images_and_defects(realdata, name):
    folder = realdata / name
    if not folder.is_dir():
        pytest.skip(f"development data not here: {name}")
    size = (256, 256)
    paths = sorted((folder / "train" / "good").iterdir())[:60:20]
    good = [fit_image(image_from_file(path), size) for path in paths]
    synthesis = Synthesis(defects=defects_from_folder(folder, size=size, most=5))
    for seed in range(8):
        for image in good:
            for make in (synthesis.simulate, synthesis.extend):
                changed, mask = make(image, np.random.default_rng(seed))
                assert mask.any()
                assert 5e-5 < mask.mean() < 0.6
                assert changed.shape == image.shape
