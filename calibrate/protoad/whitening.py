"""Whitening by the scatter within cells: what varies among like patches counts for less.

Two patches of one cell are good, so the directions in which they differ say nothing of defects.
Each stage's features are multiplied by

    W = (S / mean e + s·1)^(−1/2),   S = mean of (f − c)(f − c)ᵀ,   e = eigenvalues of S,

where f is the stage's part of a unit patch, c its cell's mean and s the shrinkage: without it,
directions in which good patches hardly vary, and which are noise, would decide. Prototypes are
compared by the cosine of what W gives, so its scale plays no part (as a Mahalanobis distance:
Mahalanobis 1936; within classes: Fisher 1936; shrunk: Ledoit and Wolf, J. Multivar. Anal. 88).
One matrix a stage, a 1×1 convolution, and nothing else in the graph changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from calibrate.backbones.features_graph import FeaturesGraph, Stage
from calibrate.node_names import HEAVY_TAILED
from calibrate.protoad.prototypes import CellMeans, Cells, Patches, Vectors, unit_rows

Metric: TypeAlias = Literal["whitened", "cosine"]

SHRINKAGE = 2.0  # measured over all development sets (docs/measurements.md)
SAMPLE = 200_000  # patches from which the scatter is computed
PART = 32_768  # patches turned to float32 at a time


def whitening_matrices(patches: Patches, cells: Cells, stages: Sequence[Stage]) -> list[Vectors]:
    """One symmetric (C_i, C_i) matrix for each stage, from the scatter within cells.

    Args:
        patches: (N, D) unit rows, the stages' channels one after another.
        cells: of those patches; of very many patches, some are taken evenly.
        stages: whose channels they are.
    """
    rows = np.flatnonzero(cells.labels >= 0)
    rows = rows[:: -(-len(rows) // SAMPLE)]
    present, labels = np.unique(cells.labels[rows], return_inverse=True)
    means = CellMeans(Cells(labels.astype(np.int32), len(present)), dimensions=patches.shape[1])
    for start in range(0, len(rows), PART):
        means.add(patches[rows[start : start + PART]], start=start)
    centres = means.unit()
    scatter = np.zeros((patches.shape[1], patches.shape[1]))
    for start in range(0, len(rows), PART):
        part = slice(start, start + PART)
        apart = patches[rows[part]].astype(np.float32) - centres[labels[part]]
        scatter += apart.T @ apart
    scatter /= len(rows)
    return [_inverse_root(scatter[part, part]) for part in _channels(stages)]


def whiten_patches(patches: Patches, matrices: Sequence[Vectors], stages: Sequence[Stage]) -> None:
    """Multiply (N, D) unit patches by the stages' matrices, in place; they stay unit rows."""
    for start in range(0, len(patches), PART):
        some = patches[start : start + PART].astype(np.float32)
        parts = zip(_channels(stages), matrices, strict=True)
        mixed = np.concatenate([some[:, part] @ matrix for part, matrix in parts], axis=1)
        patches[start : start + PART] = unit_rows(mixed)


def whiten_graph(graph: FeaturesGraph, matrices: Sequence[Vectors]) -> FeaturesGraph:
    """The graph with each stage multiplied by its weight and its matrix, in a 1×1 convolution."""
    model = onnx.load_model_from_string(graph.model)
    named = {stage.name: f"{stage.name}/correlated" for stage in graph.stages}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [named.get(name, name) for name in names]
    for stage, matrix in zip(graph.stages, matrices, strict=True):
        kernels = (matrix * np.float32(stage.weight))[:, :, None, None]
        kernel = f"{HEAVY_TAILED}{stage.name}/whitening"
        model.graph.initializer.append(numpy_helper.from_array(kernels, kernel))
        model.graph.node.append(
            helper.make_node(
                "Conv",
                [named[stage.name], kernel],
                [stage.name],
                name=f"{HEAVY_TAILED}{stage.name}/whiten",
                kernel_shape=[1, 1],
            )
        )
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    stages = tuple(replace(stage, weight=1.0) for stage in graph.stages)
    return replace(graph, model=model.SerializeToString(), stages=stages)


def _channels(stages: Sequence[Stage]) -> list[slice]:
    ends = np.cumsum([stage.channels for stage in stages]).tolist()
    return [slice(end - stage.channels, end) for end, stage in zip(ends, stages, strict=True)]


def _inverse_root(scatter: npt.NDArray[np.float64]) -> Vectors:
    """(S / mean e + s·1)^(−1/2), scaled so that the identity comes out where all e are equal."""
    variances, directions = np.linalg.eigh(scatter)
    mean = max(float(variances.mean()), np.finfo(np.float32).tiny)
    gains = np.sqrt((1 + SHRINKAGE) / (np.maximum(variances, 0) / mean + SHRINKAGE))
    return np.asarray((directions * gains) @ directions.T, np.float32)
