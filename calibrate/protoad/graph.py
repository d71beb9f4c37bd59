"""ProtoAD's head: prototypes as 1x1 convolutions, then map and score (arXiv 2310.02576).

    stage i ─ Conv 1x1 (w_i W_i) ┬─ Conv 1x1 (p_i) ─ Resize (nearest) ─┐
                                 └─ ‖f_i‖² ───────── Resize (nearest) ─┤
                                             sums over i: p·f for each prototype, ‖f‖²

    1 − max_k p_k·f / ‖f‖ = map ─ MatMul (rows) ─ MatMul (columns) = anomaly_map
                               └ the same for every 4th row and column ─ TopK ─ means = pred_score

This is the cosine of the merged feature f = [W_1 w_1 f_1 | up(W_2 w_2 f_2) | …] to its nearest
prototype, exactly: copying a position up and a product with a prototype change places. Without
whitening the weights w_i are in the prototypes' convolutions. Merging first would cost twice the
multiplications and a normalisation of every channel. Prototypes are compared in blocks, and the
largest of the blocks' maxima is taken. Up-sampling and Gaussian smoothing are linear and
separable, so both together are one matrix per axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, checker, helper, numpy_helper
from scipy.ndimage import gaussian_filter1d

from calibrate.backbones.features_graph import FeaturesGraph, Stage
from calibrate.node_names import HEAD
from calibrate.protoad.prototypes import Vectors
from calibrate.protoad.score import Score
from calibrate.protoad.whitening import Matrices
from calibrate.score_graph import output_score
from calibrate.symbolic_batch import with_symbolic_batch
from engines.engine import EXACT, Precision
from engines.score_rule import MAXIMUM, ScoreRule

ANOMALY_MAP = "anomaly_map"
PRED_SCORE = "pred_score"
SIGMA = 4.0  # px of the map, as in the authors' code
EPSILON = 1e-6
MIN_BLOCK, MAX_BLOCK = 64, 1_024  # prototypes
BLOCK_TIMES_SIDE = 16_384  # measured on CPUs with 2 MiB of cache a core (docs/protoad.md)


def block_of(stage: Stage) -> int:
    """How many prototypes are compared at once, so that their products stay in a CPU's cache.

    The products of a block are written for all positions of the finest `stage`, added to and read
    again. 512 for 32×32 positions, 256 for 64×64: a quarter as many positions of twice the block
    cost more than the cache's size alone would say, for each block reads all features again.
    """
    side = math.sqrt(stage.height * stage.width)
    power = int(math.log2(max(BLOCK_TIMES_SIDE / side, 1.0)))
    return min(max(1 << power, MIN_BLOCK), MAX_BLOCK)


def inspector_graph(
    features: FeaturesGraph,
    prototypes: Vectors,
    *,
    precision: Precision,
    whitening: Matrices = (),
    score: Score = "smoothed",
    rule: ScoreRule = MAXIMUM,
    metadata: dict[str, str] | None = None,
    fp32_head: bool = False,
) -> bytes:
    """Append ProtoAD's head to a features graph.

    Args:
        features: pooled stages, already at `precision`.
        prototypes: (K, D) unit rows, learnt from what `features` computes.
        precision: ``fp32``: the prototypes' convolutions in float32; otherwise they, their sum and
            its maximum in float16. All that follows is float32.
        whitening: one matrix for each stage, with which the prototypes are whitened too; none:
            the features are compared as they are.
        score: ``top``: by `rule`; ``smoothed``: the maximum of the map; ``raw``: that of the map
            before smoothing.
        rule: how the values of the smoothed map become a score.
        metadata: kept in the model.
        fp32_head: the prototypes' convolutions in float32 at every precision, and named so.

    Returns:
        Serialised ONNX: `image` uint8 (N, H, W, 3) BGR to `anomaly_map` float32 (N, H, W) and
        `pred_score` float32 (N,).
    """
    model = onnx.load_model_from_string(features.model)
    head = _Head(model, half=precision != "fp32" and not fp32_head, fp32=fp32_head)
    stages = (
        [
            head.whiten(stage, matrix)
            for stage, matrix in zip(features.stages, whitening, strict=True)
        ]
        if whitening
        else features.stages
    )
    distance = head.distance(stages, prototypes)
    head.outputs(distance, features, score=score, rule=rule)
    helper.set_model_props(model, metadata or {})
    checker.check_model(model, full_check=True)
    return with_symbolic_batch(bytes(model.SerializeToString()))


class _Head:
    """Writes the head's nodes; each method returns the name of its result."""

    def __init__(self, model: onnx.ModelProto, *, half: bool, fp32: bool) -> None:
        self._model = model
        self._graph = model.graph
        self._half = half
        self._prefix = EXACT if fp32 else ""
        self._batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
        self._opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self._types = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
        del model.graph.output[:]

    def whiten(self, stage: Stage, matrix: Vectors) -> Stage:
        """Multiply a stage by its weight and its matrix."""
        source = self._as(stage.name, half=self._half)
        name = f"{stage.name}/whitened"
        kernels = (matrix * np.float32(stage.weight))[:, :, None, None]
        kind = np.float16 if self._half else np.float32
        weight = self._constant(f"{name}/matrix", kernels.astype(kind))
        whitened = self._node("Conv", [source, weight], name, kernel_shape=[1, 1])
        return replace(stage, name=whitened, weight=1.0)

    def distance(self, stages: Sequence[Stage], prototypes: Vectors) -> str:
        """1 − max_k p_k·f / max(‖f‖, EPSILON): (N, 1, h, w) float32."""
        ends = np.cumsum([stage.channels for stage in stages])[:-1]
        sources = [self._as(stage.name, half=self._half) for stage in stages]
        closest, block = [], block_of(stages[0])
        for start in range(0, len(prototypes), block):
            parts = np.split(prototypes[start : start + block], ends, axis=1)
            products = [
                self._product(stage, part, source, name=f"{stage.name}/product_{start}")
                for stage, part, source in zip(stages, parts, sources, strict=True)
            ]
            total = self._sum(products, f"products_{start}")
            closest.append(self._reduce("ReduceMax", total, f"max_{start}", axes=[1], keepdims=1))
        nearest = self._as(self._largest(closest), half=False)
        energy = self._sum([self._energy(stage) for stage in stages], "energy")
        norm = self._node("Sqrt", [energy], "norm")
        epsilon = self._constant("epsilon", np.array(EPSILON, np.float32))
        bounded = self._node("Max", [norm, epsilon], "bounded")
        cosine = self._node("Div", [nearest, bounded], "cosine")
        one = self._constant("one", np.array(1, np.float32))
        return self._node("Sub", [one, cosine], "distance")

    def _largest(self, parts: list[str]) -> str:
        """The largest of tensors of one shape."""
        return parts[0] if len(parts) == 1 else self._node("Max", parts, "closest")

    def _product(self, stage: Stage, part: Vectors, source: str, *, name: str) -> str:
        """The stage's share of p_k·f: (N, K, h, w) in the convolution's precision."""
        kernels = (part * np.float32(stage.weight))[:, :, None, None]
        kind = np.float16 if self._half else np.float32
        weight = self._constant(f"{name}/prototypes", kernels.astype(kind))
        product = self._node("Conv", [source, weight], name, kernel_shape=[1, 1])
        return self._up(product, stage, f"{name}_up")

    def _energy(self, stage: Stage) -> str:
        """The stage's share of ‖f‖²: (N, 1, h, w) float32."""
        # In float32: squares overflow float16 above 256, and EPSILON would round to nothing.
        values = self._as(stage.name, half=False)
        square = self._node("Mul", [values, values], f"{stage.name}/square")
        axes = self._constant(f"{stage.name}/channels", np.array([1], np.int64))
        energy = self._node("ReduceSum", [square, axes], f"{stage.name}/energy", keepdims=1)
        if stage.weight != 1:
            weight = np.array(np.float32(stage.weight) ** 2, np.float32)
            factor = self._constant(f"{stage.name}/weight", weight)
            energy = self._node("Mul", [energy, factor], f"{stage.name}/energy_weighed")
        return self._up(energy, stage, f"{stage.name}/energy_up")

    def _up(self, source: str, stage: Stage, name: str) -> str:
        """Repeat positions up to the finest stage's size."""
        if stage.scale == 1:
            return source
        factors = np.array([1, 1, stage.scale, stage.scale], np.float32)
        scales = self._constant(f"{name}_scales", factors)
        return self._node(
            "Resize",
            [source, "", scales],
            name,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def _sum(self, parts: Sequence[str], name: str) -> str:
        total = parts[0]
        for index, part in enumerate(parts[1:], start=1):
            total = self._node("Add", [total, part], f"{name}_{index}")
        return total

    def outputs(
        self, distance: str, features: FeaturesGraph, *, score: Score, rule: ScoreRule
    ) -> None:
        """The smoothed map and the score."""
        height, width = features.size
        first = features.stages[0]
        rows = smoothing_matrix(first.height, height)
        columns = smoothing_matrix(first.width, width)
        smooth = self._smooth(distance, rows, columns)
        self._output(ANOMALY_MAP, smooth, [self._batch, height, width])
        if score == "top":
            # The values that are looked at alone: TopK of the whole map would take a CPU .7 ms.
            rows, columns = rows[rule.step], columns[rule.step]
            sampled = self._smooth(distance, rows, columns, prefix="sampled_")
            flat = self._reshape(sampled, [self._batch, len(rows) * len(columns)], "sampled_flat")
            output_score(self._model, PRED_SCORE, flat, rule, batch=self._batch)
            return
        source = smooth if score == "smoothed" else distance
        peak = self._reduce("ReduceMax", source, "peak", axes=[1, 2, 3], keepdims=0)
        self._output(PRED_SCORE, peak, [self._batch])

    def _smooth(self, source: str, rows: Vectors, columns: Vectors, *, prefix: str = "") -> str:
        """Up-sample and smooth (N, 1, h, w) by one matrix for each axis."""
        left = self._constant(f"{prefix}rows", rows)
        right = self._constant(f"{prefix}columns", columns.T)
        tall = self._node("MatMul", [left, source], f"{prefix}tall")
        return self._node("MatMul", [tall, right], f"{prefix}smooth")

    def _reshape(self, source: str, shape: list[int], name: str) -> str:
        target = self._constant(f"{name}_shape", np.array(shape, np.int64))
        return self._node("Reshape", [source, target], name)

    def _output(self, name: str, source: str, shape: list[int]) -> None:
        target = self._constant(f"{name}_shape", np.array(shape, np.int64))
        self._graph.node.append(
            helper.make_node("Reshape", [source, target], [name], name=f"{HEAD}{name}")
        )
        self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _reduce(self, kind: str, source: str, name: str, *, axes: list[int], keepdims: int) -> str:
        # From opset 18 on the axes are an input.
        if self._opset < 18:
            return self._node(kind, [source], name, axes=axes, keepdims=keepdims)
        given = self._constant(f"{name}_axes", np.array(axes, np.int64))
        return self._node(kind, [source, given], name, keepdims=keepdims)

    def _as(self, name: str, *, half: bool) -> str:
        wanted = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        return name if self._types[name] == wanted else self._cast(name, wanted)

    def _cast(self, name: str, kind: int) -> str:
        suffix = "half" if kind == TensorProto.FLOAT16 else "float"
        made = f"{name.removeprefix(HEAD)}_{suffix}"
        if f"{HEAD}{made}" in self._types:
            return f"{HEAD}{made}"
        return self._node("Cast", [name], made, to=kind)

    def _node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        output = f"{HEAD}{name.removeprefix(HEAD)}"
        name = f"{self._prefix}{output}" if kind == "Conv" else output
        node = helper.make_node(kind, inputs, [output], name=name, **attributes)
        self._graph.node.append(node)
        source_type = self._types.get(inputs[0], int(TensorProto.FLOAT))
        self._types[output] = node.attribute[0].i if kind == "Cast" else source_type
        return output

    def _constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        full = f"{HEAD}{name.removeprefix(HEAD)}"
        self._graph.initializer.append(numpy_helper.from_array(value, full))
        return full


def smoothing_matrix(source: int, target: int, sigma: float = SIGMA) -> Vectors:
    """Bilinear up-sampling, then a Gaussian with a reflected border, as one matrix.

    Args:
        source: length of the axis before.
        target: and after.
        sigma: of the Gaussian, in px of the target, cut at 4 sigma.

    Returns:
        (target, source) float32; its rows sum to 1.
    """
    at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, source - 1)
    share = at - low
    up = np.zeros((target, source))
    np.add.at(up, (np.arange(target), low), 1 - share)
    np.add.at(up, (np.arange(target), high), share)
    return np.asarray(gaussian_filter1d(up, sigma, axis=0, mode="reflect"), np.float32)
