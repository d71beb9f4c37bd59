import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calibrate.defects.foreground import foreground_from_image, scene_from_images
from calibrate.images import fit_image
from cameras.image_files import image_from_file

COLOUR = st.tuples(*[st.integers(20, 235)] * 3)


def scene(part, belt, *, centre=(0.5, 0.5), radius=0.3, size=(120, 150), seed=0, slope=0.0):
    """A disc before a belt that is lit from one side, with noise, and its mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    middle = (int(centre[0] * size[1]), int(centre[1] * size[0]))
    cv2.circle(mask, middle, int(radius * min(size)), 1, -1)
    light = 1 + slope * np.linspace(-1, 1, size[1])[None, :, None]
    picture = np.where(mask[:, :, None], part, np.multiply(belt, light))
    picture = picture + rng.normal(0, 2, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), mask > 0


def overlap(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@given(COLOUR, COLOUR, st.floats(0.15, 0.4), st.floats(-0.3, 0.3), st.integers(0, 99))
@example((20, 72, 20), (20, 87, 20), 0.375, 0.25, 1)  # a frayed edge where both are alike
@settings(max_examples=50, deadline=None)
def test_a_part_is_found_wherever_it_differs_from_its_background(part, belt, radius, slope, seed):
    lab = cv2.cvtColor(np.array([[part, belt]], np.uint8), cv2.COLOR_BGR2LAB)[0].astype(float)
    picture, truth = scene(part, belt, radius=radius, slope=slope, seed=seed)
    found = foreground_from_image(picture)
    assert (found.shape, found.dtype) == (truth.shape, np.bool_)
    # Under light from one side a part may match its background somewhere: the image is then
    # all part, or the part is found, with an edge that may fray there; it is never cut in two.
    clearly = np.linalg.norm(lab[0] - lab[1]) > 60 + 200 * abs(slope)
    assert overlap(found, truth) > (0.85 if clearly else 0.8) or (found.all() and not clearly)


@pytest.mark.parametrize("centre", [(0.5, 0.1), (0.05, 0.5), (0.95, 0.9)])
def test_a_part_may_reach_the_edge(centre):
    picture, truth = scene((200, 200, 210), (40, 50, 45), centre=centre)
    assert overlap(foreground_from_image(picture), truth) > 0.85


def test_a_hole_belongs_to_the_part():
    picture, truth = scene((200, 200, 210), (40, 50, 45))
    cv2.circle(picture, (75, 60), 12, (40, 50, 45), -1)
    assert overlap(foreground_from_image(picture), truth) > 0.9


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_colour_is_a_surface(level):
    assert foreground_from_image(np.full((64, 48, 3), level, np.uint8)).all()


@given(st.integers(0, 500), st.integers(1, 32), st.integers(1, 120))
@settings(max_examples=40, deadline=None)
def test_noise_of_any_grain_is_a_surface(seed, cells, spread):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, spread, (cells + 3, cells + 3, 3)).clip(0, 255).astype(np.uint8)
    picture = cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)
    found = foreground_from_image(picture)
    assert found.all() or cells < 6  # a few large blobs may well be a part


def test_most_of_the_images_decide():
    part = scene((200, 200, 210), (40, 50, 45))[0]
    surface = np.random.default_rng(0).integers(0, 255, part.shape, dtype=np.uint8)
    assert scene_from_images([part, part, surface]) == "object"
    assert scene_from_images([part, surface]) == "texture"
    with pytest.raises(ValueError, match="no images"):
        scene_from_images([])


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "kind"), [("bottle", "object"), ("magnetic_tile", "texture")])
def test_real_images(realdata, name, kind):
    if not (realdata / name).is_dir():
        pytest.skip(f"development data not here: {name}")
    paths = sorted((realdata / name / "train" / "good").iterdir())[::15]
    images = [fit_image(image_from_file(path), (256, 256)) for path in paths]
    assert scene_from_images(images) == kind
    shares = [foreground_from_image(image).mean() for image in images]
    if kind == "object":
        assert 0.6 < min(shares) < max(shares) < 0.7
    else:
        assert np.mean(np.equal(shares, 1)) > 0.9
