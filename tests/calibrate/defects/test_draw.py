from collections import Counter
from itertools import islice
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.defects.changes import DefectKind
from calibrate.defects.draw import CONTRASTS, SIZES, DefectRange, DrawnImage, draw_defects
from calibrate.defects.shapes import Outline
from calibrate.images import Image

LONG = 200


def surface(seed: int = 0, *, size: tuple[int, int] = (160, LONG), colour: bool = True) -> Image:
    """Something that varies by about 12 levels, all over the picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, 24, (size[0] // 4, size[1] // 4, 3 if colour else 1))
    fine = cv2.resize(np.broadcast_to(coarse, (*coarse.shape[:2], 3)), size[::-1])
    return np.clip(fine, 0, 255).astype(np.uint8)


def part(seed: int = 0) -> Image:
    """A disc of that surface before a plain background."""
    image = np.full((160, LONG, 3), 230, np.uint8)
    disc = cv2.circle(np.zeros((160, LONG), np.uint8), (100, 80), 60, 1, cv2.FILLED)
    return np.where(disc[:, :, None] > 0, surface(seed) // 2, image).astype(np.uint8)


def one(defects: DefectRange, image: Image, seed: int = 0) -> DrawnImage:
    return next(draw_defects([image], seed=seed, per_image=1, defects=defects))


@settings(deadline=None, max_examples=40)
@given(
    size=st.floats(0.01, 0.6),
    contrast=st.floats(0.5, 8),
    change=st.sampled_from(get_args(DefectKind)),
    shape=st.sampled_from(get_args(Outline)),
    seed=st.integers(0, 1 << 20),
)
def test_a_defect_is_where_its_mask_says_and_as_large_as_asked(
    size: float, contrast: float, change: DefectKind, shape: Outline, seed: int
) -> None:
    good = surface(seed)
    before = good.copy()
    drawn = one(DefectRange((size,), (contrast,), (change,), (shape,)), good, seed)
    assert np.array_equal(good, before)
    changed = (drawn.image != good).any(axis=2)
    assert not (changed & ~drawn.mask).any()
    assert changed.any()
    _, _, width, height = cv2.boundingRect(drawn.mask.view(np.uint8))
    asked = max(1, round(size * 160))
    assert asked - 1 <= max(width, height) <= asked
    assert (drawn.defect.kind, drawn.defect.outline) == (change, shape)


@pytest.mark.parametrize("change", get_args(DefectKind))
def test_most_of_a_clear_defect_differs_from_what_was_there(change: DefectKind) -> None:
    drawn = one(DefectRange((0.3,), (4.0,), (change,), ("blob",)), surface())
    changed = (drawn.image != surface()).any(axis=2)
    assert np.count_nonzero(changed) > 0.8 * np.count_nonzero(drawn.mask)


@pytest.mark.parametrize("change", ["darker", "brighter", "noise"])
def test_contrast_is_told_in_how_much_the_surface_varies(change: DefectKind) -> None:
    def difference(contrast: float) -> float:
        drawn = one(DefectRange((0.3,), (contrast,), (change,), ("blob",)), surface())
        return float(np.abs(drawn.image.astype(int) - surface())[drawn.mask].mean())

    faint, clear = difference(1.0), difference(2.0)
    assert faint == pytest.approx(clear / 2, rel=0.15)
    assert 3 < faint < 25


def test_a_flat_surface_still_gets_defects_that_can_be_seen() -> None:
    flat = np.full((100, 100, 3), 128, np.uint8)
    for drawn in draw_defects([flat], seed=0, per_image=60):
        difference = np.abs(drawn.image.astype(int) - 128)
        assert difference.max() >= 3


def test_defects_lie_on_the_part() -> None:
    image = part()
    disc = np.hypot(*(np.mgrid[:160, :LONG] - np.array([80, 100])[:, None, None])) < 66
    for drawn in draw_defects([image], seed=0, per_image=40):
        assert drawn.mask.any()
        assert not (drawn.mask & ~disc).any()


def test_a_grey_picture_stays_grey() -> None:
    for drawn in draw_defects([surface(colour=False)], seed=0, per_image=30):
        assert np.ptp(drawn.image, axis=2).max() <= 1


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    def pictures(seed: int) -> list[Image]:
        found = draw_defects([surface(1), part()], seed=seed, per_image=3)
        return [drawn.image for drawn in found]

    assert np.array_equal(pictures(1), pictures(1))
    assert not any(map(np.array_equal, pictures(1), pictures(2)))


@pytest.mark.parametrize("per_image", [2, 4])
def test_every_size_change_contrast_and_shape_comes_equally_often(per_image: int) -> None:
    images = [surface(size=(48, 48))] * (300 // per_image)
    drawn = [one.defect for one in draw_defects(images, seed=5, per_image=per_image)]
    assert Counter(one.size for one in drawn) == dict.fromkeys(SIZES, 60)
    assert Counter(one.contrast for one in drawn) == dict.fromkeys(CONTRASTS, 100)
    assert set(Counter((one.size, one.kind) for one in drawn).values()) == {12}
    assert set(Counter(drawn).values()) == {2}
    few = Counter(one.size for one in drawn[:20])
    assert few == dict.fromkeys(SIZES, 4)


def test_images_are_taken_one_at_a_time() -> None:
    taken = []

    def images() -> object:
        for index in range(100):
            taken.append(index)
            yield surface(size=(40, 40))

    drawn = list(islice(draw_defects(images(), seed=0, per_image=2), 4))
    assert [one.source for one in drawn] == [0, 0, 1, 1]
    assert taken == [0, 1]


@pytest.mark.parametrize(
    "values",
    [{"sizes": ()}, {"sizes": (0.0,)}, {"sizes": (1.5,)}, {"contrasts": (-1.0,)}, {"outlines": ()}],
)
def test_what_cannot_be_drawn_is_refused(values: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="give"):
        DefectRange(**values)


@pytest.mark.parametrize(
    "image", [np.zeros((20, 64, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3))]
)
def test_what_is_no_picture_is_refused(image: Image) -> None:
    with pytest.raises(ValueError, match="at least 32 px"):
        next(draw_defects([image], seed=0))
