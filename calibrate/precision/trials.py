"""Images on which two graphs have to agree, what graphs give for them, and a sample of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calibrate.images import Image, evenly
from engines.engine import Engine

MAP_IMAGES = 64  # of so many images of a trial the maps are compared
BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a graph gives for a trial's images.

    Attributes:
        maps: (m, H, W) float32, of at most `MAP_IMAGES` of them, evenly.
        mapped: (m,) of which ones, ascending.
        scores: (n,) float32.
    """

    maps: npt.NDArray[np.float32]
    mapped: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def of(self, chosen: npt.NDArray[np.int64]) -> Outputs:
        """Those of some images, ascending."""
        kept = np.isin(self.mapped, chosen)
        mapped = np.searchsorted(chosen, self.mapped[kept])
        return Outputs(self.maps[kept], mapped, self.scores[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Images, and the two graphs that have to agree on them.

    Attributes:
        fp32: serialised ONNX in fp32.
        built: at its precision.
        images: (n, H, W, 3) uint8 BGR, none of which the two have learnt from.
        names: of the images' files.
        defective: (n,) which of them show a defect; None where nobody has labelled them and all
            are good.
    """

    fp32: bytes
    built: bytes
    images: Image
    names: tuple[str, ...]
    defective: npt.NDArray[np.bool_] | None = None

    def of(self, chosen: npt.NDArray[np.int64]) -> Trial:
        """The trial with some of its images, ascending."""
        return replace(
            self,
            images=self.images[chosen],
            names=tuple(self.names[index] for index in chosen),
            defective=None if self.defective is None else self.defective[chosen],
        )


def outputs_of(
    engine: Engine, images: Image, mapped: npt.NDArray[np.int64] | None = None
) -> Outputs:
    """What an engine gives for (n, H, W, 3) images.

    Args:
        engine: runs the graph.
        images: to be run.
        mapped: whose maps are kept, ascending; None: of at most `MAP_IMAGES`, evenly.
    """
    if mapped is None:
        mapped = np.arange(0, len(images), math.ceil(len(images) / MAP_IMAGES))
    maps, scores = [], []
    for start in range(0, len(images), BATCH):
        some = engine.infer(images[start : start + BATCH])
        here = mapped[(mapped >= start) & (mapped < start + BATCH)] - start
        maps.append(np.asarray(some[0][here], np.float32))
        scores.append(np.asarray(some[1], np.float32))
    return Outputs(np.concatenate(maps), mapped, np.concatenate(scores))


def sample(
    scores: Sequence[npt.NDArray[np.float32]], *, near: float, count: int
) -> list[npt.NDArray[np.int64]]:
    """Of several trials' images, half those whose scores are nearest a threshold, half evenly.

    Args:
        scores: (n,) of each trial; any number of them.
        near: the threshold.
        count: of all images together; all where there are fewer.

    Returns:
        Of each trial the indices, ascending.
    """
    ends = np.cumsum([len(one) for one in scores])
    order = np.argsort(np.abs(np.concatenate(scores) - near), kind="stable")
    nearest = order[: count // 2]
    others = np.sort(order[count // 2 :]).tolist()
    chosen = np.array(sorted([*nearest.tolist(), *evenly(others, count - len(nearest))]), np.int64)
    return [
        chosen[(chosen >= end - len(one)) & (chosen < end)] - (end - len(one))
        for one, end in zip(scores, ends, strict=True)
    ]
