"""Prototypes of whole feature maps, by k-means, on each scale (PRN, section 3.1).

A map on the finest scale has 262 144 elements, but N maps span at most N dimensions. So k-means
runs on their coordinates there, from the N x N matrix of products: all distances are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from calibrate.images import Image, evenly
from calibrate.prn.graph.torch_backbone import FrozenBackbone

BATCH = 8
SHARE = 0.1
MAX_BYTES = 2**30  # an ONNX file holds at most 2 GiB, the rest of the network included
DEFAULT_MEMORY_MIB = 2048


class PrototypesError(ValueError):
    """Prototypes cannot be learnt as asked."""


@dataclass(frozen=True)
class FeaturePrototypes:
    """What `PRN.learn` takes.

    Attributes:
        maps: of each scale, (K, C, H, W) float32, means of feature maps.
        scale: (3,) float32: 1 / root mean square of each stage over the images.
        images: how many images they were learnt from.
    """

    maps: tuple[Tensor, ...]
    scale: Tensor
    images: int


def default_count(images: int) -> int:
    """K = max(1, ⌊0.1·N⌋), of each scale."""
    return max(1, int(SHARE * images))


def feature_prototypes(
    backbone: FrozenBackbone,
    images: Sequence[Image],
    *,
    count: int,
    memory_mib: int = DEFAULT_MEMORY_MIB,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> FeaturePrototypes:
    """Cluster the feature maps of good images on each scale, independently.

    Args:
        backbone: whose `stages` are the scales; its device computes.
        images: (H, W, 3) uint8 BGR of one size.
        count: prototypes of each scale (K); fewer where fewer maps differ.
        memory_mib: most memory for the maps of all scales, as float16; beyond it k-means sees
            evenly spread images only.
        seed: of k-means.
        progress: called with the share done.

    Raises:
        PrototypesError: no images, a count out of range, or more than an ONNX file can hold.
    """
    if not images or not 1 <= count <= len(images):
        raise PrototypesError(
            f"{count} prototypes from {len(images)} images; give --prototypes from 1 to "
            "the number of images"
        )
    sizes = [tuple(stage.shape[1:]) for stage in next(_features(backbone, images[:1]))]
    _check_bytes(count, sizes=sizes)
    each = 2 * sum(math.prod(size) for size in sizes)
    most = max(count, memory_mib * 2**20 // each)
    chosen = images if len(images) <= most else evenly(images, most)
    scales = [torch.empty(len(chosen), math.prod(size), dtype=torch.float16) for size in sizes]
    done = 0
    for stages in _features(backbone, chosen):
        for rows, stage in zip(scales, stages, strict=True):
            rows[done : done + len(stage)] = stage.flatten(1).half().cpu()
        done += len(stages[0])
        if progress:
            progress(done / len(chosen))
    maps = tuple(
        _means(rows, _clusters(rows, count, seed=seed)).reshape(-1, *size)
        for rows, size in zip(scales, sizes, strict=True)
    )
    squares = [sum(float(row.float().square().mean()) for row in rows) for rows in scales]
    roots = torch.tensor(squares).div(len(chosen)).clamp_min(1e-12).sqrt()
    return FeaturePrototypes(maps, 1 / roots, len(chosen))


def _features(backbone: FrozenBackbone, images: Sequence[Image]) -> Iterator[list[Tensor]]:
    for start in range(0, len(images), BATCH):
        batch = np.stack([images[i] for i in range(start, min(start + BATCH, len(images)))])
        stages = backbone(torch.from_numpy(batch).to(backbone.mean.device))
        yield [stages[name] for name in backbone.stages]


def _check_bytes(count: int, *, sizes: Sequence[tuple[int, ...]]) -> None:
    each = 4 * sum(math.prod(size) for size in sizes)
    if count * each > MAX_BYTES:
        raise PrototypesError(
            f"{count} prototypes of {each / 2**20:.1f} MiB on all scales are more than the "
            f"{MAX_BYTES // 2**20} MiB that fit a model; give --prototypes "
            f"{MAX_BYTES // each} or fewer"
        )


def _clusters(rows: Tensor, count: int, *, seed: int) -> npt.NDArray[np.int64]:
    """The cluster of each row, 0 to at most `count` - 1, none of them empty."""
    from sklearn.cluster import KMeans  # takes a while to import

    points = _coordinates(rows)
    distinct = len(np.unique(points.round(4), axis=0))
    clusters = KMeans(min(count, distinct), n_init=10, random_state=seed).fit(points)
    _, labels = np.unique(clusters.labels_, return_inverse=True)
    return np.asarray(labels, np.int64)


def _coordinates(rows: Tensor, block: int = 2**15) -> npt.NDArray[np.float64]:
    """(N, <= N) points with the rows' mutual distances, whatever their length."""
    mean = rows.float().mean(dim=0)
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, rows.shape[1], block):
        part = rows[:, start : start + block].float() - mean[start : start + block]
        products += (part @ part.t()).double()
    values, vectors = np.linalg.eigh(products.numpy())
    points: npt.NDArray[np.float64] = vectors * np.sqrt(np.maximum(values, 0))
    return points


def _means(rows: Tensor, labels: npt.NDArray[np.int64]) -> Tensor:
    """The mean row of each cluster, (K, D) float32."""
    kept = torch.from_numpy(labels)
    return torch.stack([rows[kept == k].float().mean(dim=0) for k in range(int(kept.max()) + 1)])
