"""Prototypes of whole feature maps."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from calibrate.prn.graph.torch_backbone import FrozenBackbone  # noqa: E402
from calibrate.prn.options import prn_stages  # noqa: E402
from calibrate.prn.prototypes import (  # noqa: E402
    PrototypesError,
    _coordinates,
    default_count,
    feature_prototypes,
)


@pytest.fixture(scope="module")
def frozen(small_backbone) -> FrozenBackbone:
    backbone = small_backbone().backbone
    return FrozenBackbone(backbone, stages=prn_stages(backbone))


def varied(picture: np.ndarray, count: int, *, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    noise = random.integers(-6, 7, (count, *picture.shape))
    return list((picture.astype(int) + noise).clip(0, 255).astype(np.uint8))


def test_the_default_is_a_tenth() -> None:
    assert [default_count(n) for n in (1, 9, 10, 19, 209)] == [1, 1, 1, 1, 20]


def test_points_have_the_rows_distances() -> None:
    rows = torch.rand(7, 5000).half()
    points = torch.from_numpy(_coordinates(rows, block=999))
    torch.testing.assert_close(
        torch.cdist(points, points), torch.cdist(rows.double(), rows.double()), atol=1e-3, rtol=1e-3
    )


def test_kinds_of_images_are_told_apart(frozen, pictures) -> None:
    """Each prototype is the mean map of one kind, whatever the order."""
    kinds = [varied(picture, 5, seed=i) for i, picture in enumerate(pictures(3, (64, 64)))]
    images = [kind[i] for i in range(5) for kind in kinds]
    learnt = feature_prototypes(frozen, images, count=3)
    for stage, maps in zip(frozen.stages, learnt.maps, strict=True):
        means = torch.stack(
            [frozen(torch.from_numpy(np.stack(kind)))[stage].mean(0) for kind in kinds]
        )
        distance = torch.cdist(means.flatten(1), maps.flatten(1))
        assert sorted(distance.argmin(1).tolist()) == [0, 1, 2]
        assert distance.min(1).values.max() < 0.01 * distance.max()
        assert maps.dtype == torch.float32


def test_the_scale_makes_the_mean_square_1(frozen, pictures) -> None:
    images = list(pictures(4, (64, 64)))
    learnt = feature_prototypes(frozen, images, count=1)
    stages = frozen(torch.from_numpy(np.stack(images)))
    for name, factor in zip(frozen.stages, learnt.scale, strict=True):
        assert float((stages[name] * factor).square().mean()) == pytest.approx(1, rel=1e-2)


def test_the_same_seed_gives_the_same(frozen, pictures) -> None:
    images = list(pictures(12, (64, 64)))
    first, second = (feature_prototypes(frozen, images, count=4, seed=3) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first.maps, second.maps, strict=True))


def test_equal_images_give_one_prototype(frozen, pictures) -> None:
    learnt = feature_prototypes(frozen, list(pictures(1, (64, 64))) * 6, count=3)
    assert [len(maps) for maps in learnt.maps] == [1, 1, 1]


def test_memory_is_bounded_by_fewer_images(frozen, pictures) -> None:
    """A map of these sizes takes 2 * (24·16² + 32·8² + 40·4²) bytes."""
    told: list[float] = []
    learnt = feature_prototypes(
        frozen, list(pictures(90, (64, 64))), count=2, memory_mib=1, progress=told.append
    )
    assert learnt.images == 2**20 // (2 * (24 * 16**2 + 32 * 8**2 + 40 * 4**2))
    assert told[-1] == 1
    assert told == sorted(told)


@pytest.mark.parametrize("count", [0, 3])
def test_a_count_out_of_range_is_refused(frozen, pictures, count: int) -> None:
    with pytest.raises(PrototypesError, match="give --prototypes from 1"):
        feature_prototypes(frozen, list(pictures(2, (64, 64))), count=count)


def test_more_than_a_model_can_hold_is_refused(frozen, pictures) -> None:
    images = list(pictures(1, (64, 64))) * 40_000
    with pytest.raises(PrototypesError, match="or fewer"):
        feature_prototypes(frozen, images, count=40_000)
