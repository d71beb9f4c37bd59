"""Batches depend on seed and step alone."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

from calibrate.prn.batches import Batches, validation_batches

SIZE = 16


def numbered(count: int) -> list[np.ndarray]:
    return [np.full((SIZE, SIZE, 3), index, np.uint8) for index in range(count)]


def marked(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A defect of one pixel, 100 above the image."""
    mask = np.zeros(image.shape[:2], bool)
    mask[rng.integers(SIZE), rng.integers(SIZE)] = True
    return np.where(mask[..., None], image + 100, image).astype(np.uint8), mask


def of(images: int, *, size: int = 4, seed: int = 1) -> Batches:
    return Batches(numbered(images), marked, size, seed)


def test_half_is_good_and_half_is_not() -> None:
    batch = of(9, size=6).at(4)
    assert batch.images.shape == (6, SIZE, SIZE, 3)
    assert [bool(mask.any()) for mask in batch.masks] == [False] * 3 + [True] * 3
    assert (batch.images.max(axis=-1) >= 100).tolist() == batch.masks.tolist()


def test_an_epoch_shows_each_image_once_good_and_once_not() -> None:
    batches = of(6)
    for epoch in range(3):
        shown = [batches.at(epoch * 3 + step).images[:, 0, 0, 0] % 100 for step in range(3)]
        for part in (slice(2), slice(2, None)):
            assert Counter(int(i) for s in shown for i in s[part]) == dict.fromkeys(range(6), 1)


def test_epochs_are_shuffled_anew() -> None:
    batches = of(20, size=40)
    orders = [tuple(batches.at(epoch).images[:20, 0, 0, 0]) for epoch in range(3)]
    assert len(set(orders)) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_ahead_is_the_same_as_one_by_one(threads: int) -> None:
    batches = of(5)
    for step, batch in enumerate(batches.ahead(7, 20, threads=threads), start=7):
        wanted = batches.at(step)
        assert np.array_equal(batch.images, wanted.images)
        assert np.array_equal(batch.masks, wanted.masks)
    assert step == 19


def test_another_seed_gives_other_defects() -> None:
    assert not np.array_equal(of(5).at(0).masks, of(5, seed=2).at(0).masks)


def test_stopping_early_leaves_no_thread() -> None:
    before = threading.active_count()
    ahead = of(5).ahead(0, 10_000, threads=2)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before


def test_an_error_in_a_thread_reaches_the_training() -> None:
    def broken(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("texture 3 is broken")

    with pytest.raises(ValueError, match="texture 3"):
        list(Batches(numbered(3), broken, 2, 0).ahead(0, 3, threads=1))


def test_validation_is_the_same_every_time() -> None:
    first, second = (list(validation_batches(numbered(5), marked, size=4, seed=0)) for _ in "ab")
    assert [len(batch.images) for batch in first] == [4, 4, 2]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.images, other.images)
    assert sum(int(mask.any()) for batch in first for mask in batch.masks) == 5
