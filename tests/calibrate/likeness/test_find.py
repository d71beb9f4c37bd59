"""Images of one thing are one, whatever camera and file do to them; different parts are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.likeness.clusters import Clusters
from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.same import is_same
from calibrate.likeness.sketches import sketch_of

PARTS = 6
SIZE = 256


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """Different parts of one kind in one place, as a fixture would hold them."""
    return [draw_part(index) for index in range(PARTS)]


def draw_part(seed: int) -> np.ndarray:
    """A disc on a plain ground: only its texture and its place differ from part to part."""
    random = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(random.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 1.5)
    picture = np.full((SIZE, SIZE), 190, np.float32)
    centre = tuple(int(128 + one) for one in random.integers(-1, 2, 2))
    for radius, grey in ((100, 90), (60, 140), (30, 60)):
        cv2.circle(picture, centre, radius, grey, -1, cv2.LINE_AA)
    inside = np.hypot(*np.mgrid[-128:128, -128:128]) < 100
    picture += np.where(inside, 40 * texture, 0)
    return cv2.cvtColor(picture.clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def encoded_again(image: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def shifted(image: np.ndarray, right: float, down: float) -> np.ndarray:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def taken_again(image: np.ndarray, seed: int) -> np.ndarray:
    """Another light, another place by at most a pixel, noise, and compression."""
    random = np.random.default_rng(seed)
    moved = shifted(image, *random.uniform(-1, 1, 2)).astype(np.float32)
    lit = moved * random.uniform(0.92, 1.08) + random.uniform(-6, 6)
    noisy = lit + random.normal(0, random.uniform(0, 3), image.shape)
    return encoded_again(noisy.clip(0, 255).astype(np.uint8), int(random.integers(60, 100)))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: encoded_again(image, 50),
        lambda image: shifted(image, 1, 0),
        lambda image: shifted(image, -1, 1),
        lambda image: cv2.convertScaleAbs(image, alpha=1.1, beta=4),
        lambda image: cv2.add(
            image, np.random.default_rng(0).integers(0, 12, image.shape).astype(np.uint8)
        ),
    ],
    ids=["equal", "encoded again", "a pixel aside", "aslant", "brighter", "noisy"],
)
def test_a_copy_is_the_same(change, parts) -> None:
    for part in parts[:3]:
        assert is_same(sketch_of(part), sketch_of(change(part)))
        assert is_same(sketch_of(change(part)), sketch_of(part))


def test_parts_that_look_alike_are_different(parts) -> None:
    found = clusters_of_sketches([sketch_of(part) for part in parts])
    assert found.count == PARTS
    assert found.shared == ()
    assert found.describe() == ""


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, PARTS - 1), min_size=2, max_size=9))
def test_clusters_are_the_things_in_any_order(parts, seed, things) -> None:
    images = [taken_again(parts[thing], seed + place) for place, thing in enumerate(things)]
    found = clusters_of_sketches([sketch_of(image) for image in images])
    assert found.labels.tolist() == Clusters.numbered(things).labels.tolist()


def test_a_mark_makes_another_part(parts) -> None:
    marked = parts[0].copy()
    cv2.line(marked, (110, 60), (130, 66), (20, 20, 20), 3, cv2.LINE_AA)
    assert not is_same(sketch_of(parts[0]), sketch_of(marked))


def test_frames_of_a_film_are_one_but_shuffled_parts_are_not() -> None:
    film = []
    still = draw_part(0)
    for left in range(0, 160, 2):  # something walks past a part that stands still
        frame = still.copy()
        cv2.rectangle(frame, (left, 90), (left + 50, 200), (30, 60, 30), -1)
        film.append(sketch_of(frame))
    assert clusters_of_sketches(film).count == 1
    two_products = [sketch_of(draw_part(seed)) for seed in range(12)]
    two_products += [sketch_of(255 - draw_part(seed)) for seed in range(12, 24)]
    assert clusters_of_sketches(two_products).count == 24


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_blank_pictures_are_one(count) -> None:
    blank = np.full((SIZE, SIZE, 3), 7, np.uint8)
    assert clusters_of_sketches([sketch_of(blank)] * count).count == min(count, 1)


def test_clusters_are_described_and_narrowed() -> None:
    found = Clusters.numbered([5, 5, 2, 9, 2, 5])
    assert found.labels.tolist() == [0, 0, 1, 2, 1, 0]
    assert [group.tolist() for group in found.shared] == [[0, 1, 5], [2, 4]]
    assert found.describe().startswith("6 images, 3 different ones")
    assert found.of([3, 2, 4]).labels.tolist() == [0, 1, 1]
    values = np.array([1, 3, 0, 4, 2, 2], np.float32)
    assert found.highest(values).tolist() == [1, 4, 3]
