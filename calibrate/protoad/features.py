"""Features of good images as patches: unit vectors at every position of the merged stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.backbones.features_graph import FeaturesGraph, Stage
from calibrate.images import Roi, evenly, fitted_batches
from calibrate.protoad.prototypes import Patches
from engines.engine import Engine

BALANCE_IMAGES = 64
Features: TypeAlias = npt.NDArray[np.float32]  # (N, C, h, w)


def balance_stages(
    engine: Engine, graph: FeaturesGraph, paths: Sequence[Path], *, roi: Roi | None
) -> FeaturesGraph:
    """Weigh the stages so that each has the same mean length on good images.

    Otherwise the stage with the largest activations decides what a patch is like.

    Args:
        engine: runs `graph`.
        graph: whose stages are weighed, the finest with 1.
        paths: good images; at most 64, evenly spread, are run.
        roi: the part that is inspected.
    """
    some = evenly(paths, BALANCE_IMAGES)
    lengths = np.zeros(len(graph.stages))
    for images in fitted_batches(some, size=graph.size, roi=roi):
        for index, output in enumerate(engine.infer(images)):
            squares = np.square(output, dtype=np.float32).sum(axis=1)
            lengths[index] += float(np.sqrt(squares).mean(axis=(1, 2)).sum())
    # A stage that is silent on every good image has nothing to be weighed by.
    weights = [lengths[0] / length if length > 0 else 1.0 for length in lengths]
    stages = tuple(
        replace(stage, weight=float(np.float32(weight)) if lengths[0] > 0 else 1.0)
        for stage, weight in zip(graph.stages, weights, strict=True)
    )
    return replace(graph, stages=stages)


def unit_patches(outputs: Sequence[Features], stages: Sequence[Stage]) -> Features:
    """Merge stages and normalise: (N, C_i, h_i, w_i), finest first → (N, h·w, ΣC) unit vectors.

    Coarser stages repeat their nearest position and are weighed, as in the graph's head.
    """
    merged = np.concatenate(
        [
            (output * np.float32(stage.weight)).repeat(stage.scale, 2).repeat(stage.scale, 3)
            for output, stage in zip(outputs, stages, strict=True)
        ],
        axis=1,
    )
    flat = merged.reshape(*merged.shape[:2], -1).transpose(0, 2, 1)
    norm = np.sqrt(np.einsum("npc,npc->np", flat, flat))[..., None]
    unit: Features = flat / np.maximum(norm, np.float32(1e-6))
    return unit


@dataclass(frozen=True, slots=True, eq=False)
class PatchBank:
    """Unit patches of every image, image after image.

    Attributes:
        patches: (images · per_image, D); float16 as they are read.
        rows: (images, per_image) which of each image's patches are in it.
    """

    patches: Patches
    rows: npt.NDArray[np.int32]

    def of_images(self, images: npt.NDArray[np.int64]) -> Patches:
        """The patches of some images."""
        blocks = self.patches.reshape(*self.rows.shape, -1)
        return blocks[images].reshape(-1, self.patches.shape[1])


def patch_bank(
    engine: Engine,
    graph: FeaturesGraph,
    paths: Sequence[Path],
    *,
    roi: Roi | None,
    rows: npt.NDArray[np.int32],
    progress: Callable[[float], None] | None = None,
) -> PatchBank:
    """Run all images and keep their patches.

    Args:
        engine: runs `graph`.
        graph: the features graph.
        paths: good images.
        roi: the part that is inspected.
        rows: which patches of each image, as `draw_rows` gives them.
        progress: called with the share done.
    """
    bank = np.empty((rows.size, graph.dimensions), np.float16)
    done = 0
    for patches in patch_runs(engine, graph, paths, roi=roi, rows=rows):
        bank[done : done + len(patches)] = patches
        done += len(patches)
        if progress:
            progress(done / len(bank))
    return PatchBank(bank, rows)


def draw_rows(
    graph: FeaturesGraph, images: int, *, memory_mib: int, seed: int = 0
) -> npt.NDArray[np.int32]:
    """Which patches of each image a bank can hold: all, or evenly many of each, drawn at random.

    Args:
        graph: the features graph.
        images: how many images there are.
        memory_mib: most memory for the bank, in MiB.
        seed: of the draw.

    Returns:
        (images, per_image), ascending in each row.
    """
    most = memory_mib * 2**20 // (2 * graph.dimensions * images)
    per_image = max(1, min(graph.positions, most))
    if per_image == graph.positions:
        return np.tile(np.arange(graph.positions, dtype=np.int32), (images, 1))
    random = np.random.default_rng(seed)
    drawn = [random.choice(graph.positions, per_image, replace=False) for _ in range(images)]
    return np.sort(np.array(drawn, np.int32), axis=1)


def patch_runs(
    engine: Engine,
    graph: FeaturesGraph,
    paths: Sequence[Path],
    *,
    roi: Roi | None,
    rows: npt.NDArray[np.int32],
) -> Iterator[Features]:
    """Yield the unit patches `rows` of n images at a time, in order: (n · per_image, D)."""
    done = 0
    for images in fitted_batches(paths, size=graph.size, roi=roi):
        outputs = [np.asarray(output, np.float32) for output in engine.infer(images)]
        unit = unit_patches(outputs, graph.stages)
        some = rows[done : done + len(unit), :, None]
        done += len(unit)
        yield np.take_along_axis(unit, some, axis=1).reshape(-1, graph.dimensions)
