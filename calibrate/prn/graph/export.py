"""PRN's graph: the same contract as ProtoAD's, from a uint8 image to map and score.

    stages of a features graph ─ match ─ residual ─ MF ─ MSA ─ MF ─ decoder ─ Sigmoid = anomaly_map
                                                               mean of the 100 highest = pred_score

The nearest prototype is argmax_k(f·p_k − ‖p_k‖²/2), which is argmin_k ‖f − p_k‖²: Gemm, Add, ArgMax
and Gather. Matching, residuals and all behind the logit are computed in float32 at every precision:
their names begin with `EXACT`, by which the precision stage and the engines know them. A match is a
sum of up to 262 144 terms, and one that flips changes the whole residual. Convolutions that read
residuals are never int8: squares have a heavy tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import onnx
from onnx import checker, helper
from torch import nn

from calibrate.backbones.features_graph import FeaturesGraph
from calibrate.images import Size
from calibrate.node_names import HEAVY_TAILED
from calibrate.prn.graph.folding import Kernel, fold_front
from calibrate.prn.graph.nodes import Nodes, array
from calibrate.prn.network.attention import MultiSizeSelfAttention, PatchAttention
from calibrate.prn.network.decoder import Decoder, Level, Logit
from calibrate.prn.network.fusion import MultiScaleFusion, Up
from calibrate.prn.network.matching import Matching
from calibrate.prn.network.network import PRN
from calibrate.prn.options import SCORE_PIXELS
from calibrate.score_graph import output_score
from calibrate.symbolic_batch import with_symbolic_batch
from engines.engine import EXACT
from engines.score_rule import ScoreRule, ScoreTerm

ANOMALY_MAP = "anomaly_map"
PRED_SCORE = "pred_score"


def inspector_graph(
    features: FeaturesGraph, network: PRN, *, metadata: dict[str, str] | None = None
) -> bytes:
    """Append a trained PRN to a features graph, float32.

    Args:
        features: the backbone's own stages (not pooled), in fp32, of the network's size.
        network: in eval mode, prototypes learnt.
        metadata: kept in the model.

    Returns:
        Serialised ONNX: `image` uint8 (N, H, W, 3) BGR to `anomaly_map` float32 (N, H, W) and
        `pred_score` float32 (N,).

    Raises:
        ValueError: stages or size are not those of the network, or it is in training mode.
    """
    _check(features, network)
    model = onnx.load_model_from_string(features.model)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    del model.graph.output[:]
    nodes = Nodes(model)
    logits = _GraphWalk(nodes, network, batch).logits()
    height, width = features.size
    nodes.output(ANOMALY_MAP, "Sigmoid", [logits], shape=[batch, height, width])
    flat = nodes.reshape(ANOMALY_MAP, [batch, height * width], f"{EXACT}flat")
    count = min(SCORE_PIXELS, height * width)
    output_score(model, PRED_SCORE, flat, ScoreRule(terms=(ScoreTerm(count=count),)), batch=batch)
    helper.set_model_props(model, metadata or {})
    checker.check_model(model, full_check=True)
    return with_symbolic_batch(bytes(model.SerializeToString()))


def matched_index(stage: str) -> str:
    """Name of the tensor that holds the nearest prototype's index on a stage, (N,) int64."""
    return f"{EXACT}match/{stage}/nearest"


class _GraphWalk:
    """Follows the network's forward pass; each method returns the names of its results."""

    def __init__(self, nodes: Nodes, network: PRN, batch: int) -> None:
        self._nodes = nodes
        self._network = network
        self._batch = batch
        self._shape = network.shape

    def logits(self) -> str:
        """All of it: (N, H, W)."""
        network, residuals = self._network, [self._compare(i) for i in range(3)]
        entered = (
            self._narrow(residuals) if self._shape.size == "compact" else self._join(residuals)
        )
        scales = [self._attend(scale, index) for index, scale in enumerate(entered)]
        fused = self._fuse(scales, network.fuse, name="fuse")
        deepest = self._nodes.sequence(self._features(-1), network.deepen, name="deepen")
        return self._decode(deepest, fused)

    def _compare(self, index: int) -> str:
        """A stage's residuals to the nearest prototype (`PRN.compare`).

        The stage is compared as it is, to prototypes as they were before scaling: nothing that an
        engine may round comes before the match. The square of the scale follows the residual.
        """
        nodes, stage = self._nodes, self._shape.stages[index]
        name, scale = f"{EXACT}match/{stage}", self._network.scale[index]
        maps = cast(Matching, self._network.matching[index]).prototypes.flatten(1) / scale
        count, elements = maps.shape
        prototypes = nodes.constant(f"{name}/prototypes", array(maps))
        half_energy = -maps.double().square().sum(dim=1, keepdim=True) / 2
        flat = nodes.reshape(stage, [self._batch, elements], f"{name}/flat")
        product = nodes.node("Gemm", [flat, prototypes], f"{name}/product", transB=1)
        # As a column: OpenVINO would fuse the sum into the product, and forget that it is exact.
        column = nodes.reshape(product, [self._batch, count, 1], f"{name}/column")
        energy = nodes.constant(f"{name}/half_energy", array(half_energy))
        near = nodes.node("Add", [column, energy], f"{name}/nearness")
        chosen = nodes.node("ArgMax", [near], matched_index(stage), axis=1, keepdims=0)
        gathered = nodes.node("Gather", [prototypes, chosen], f"{name}/gathered", axis=0)
        prototype = nodes.reshape(gathered, [self._batch, elements], f"{name}/prototype")
        difference = nodes.node("Sub", [flat, prototype], f"{name}/difference")
        square = nodes.node("Mul", [difference, difference], f"{name}/square")
        scaled = nodes.scale_by(square, scale.square(), None, name=f"{name}/scaled")
        sizes = [self._batch, self._shape.channels[index], *self._shape.sizes[index]]
        return nodes.reshape(scaled, sizes, f"{name}/residual")

    def _features(self, index: int) -> str:
        """A stage as the network sees it."""
        stage, scale = self._shape.stages[index], self._network.scale[index]
        name = f"features/{stage}"
        return (
            name if self._nodes.has(name) else self._nodes.scale_by(stage, scale, None, name=name)
        )

    def _join(self, residuals: Sequence[str]) -> list[str]:
        """Features ‖ residuals, fused, of every scale."""
        network, name = self._network, f"{HEAVY_TAILED}residuals"
        features = [self._features(index) for index in range(len(residuals))]
        first = self._fuse(features, network.fuse_features, name="features")
        second = self._fuse(residuals, network.fuse_residuals, name=name)
        return [
            self._nodes.node("Concat", list(pair), f"entry/{index}/joined", axis=1)
            for index, pair in enumerate(zip(first, second, strict=True))
        ]

    def _narrow(self, residuals: Sequence[str]) -> list[str]:
        """The same behind the 1x1 convolution that narrows it: see `fold_front`."""
        nodes, name = self._nodes, f"{HEAVY_TAILED}entry"
        pairs = [
            nodes.node("Concat", [stage, residual], f"{name}/{stage}", axis=1)
            for stage, residual in zip(self._shape.stages, residuals, strict=True)
        ]
        return [
            self._sum(pairs, kernels, target, name=name)
            for target, kernels in enumerate(fold_front(self._network))
        ]

    def _sum(
        self, sources: Sequence[str], kernels: Sequence[Kernel], target: int, *, name: str
    ) -> str:
        total = ""
        for index, (source, kernel) in enumerate(zip(sources, kernels, strict=True)):
            place = f"{name}/{index}_to_{target}"
            part = self._nodes.dense(source, kernel, name=place)
            if kernel.up:
                factors = _factors(self._shape.sizes[index], self._shape.sizes[target])
                part = self._nodes.resize(part, factors=factors, name=f"{place}/up")
            total = self._nodes.node("Add", [total, part], f"{place}/sum") if total else part
        return total

    def _fuse(self, scales: Sequence[str], fusion: MultiScaleFusion, *, name: str) -> list[str]:
        fused = []
        for target, paths in enumerate(fusion.paths):
            total = ""
            for source, path in enumerate(cast(nn.ModuleList, paths)):
                place = f"{name}/{source}_to_{target}"
                part = self._path(scales[source], path, (source, target), name=place)
                total = self._nodes.node("Add", [total, part], f"{place}/sum") if total else part
            fused.append(total)
        return fused

    def _path(self, source: str, path: nn.Module, way: tuple[int, int], *, name: str) -> str:
        if isinstance(path, Up):
            before, after = (self._shape.sizes[index] for index in way)
            return self._up(source, path, before, after, name=name)
        if isinstance(path, nn.Conv2d):
            return self._nodes.conv(source, path, None, name=name)
        return source

    def _up(self, source: str, up: Up, before: Size, after: Size, *, name: str) -> str:
        narrow = self._nodes.conv(source, up.conv, None, name=f"{name}/conv")
        return self._nodes.resize(narrow, factors=_factors(before, after), name=f"{name}/up")

    def _attend(self, source: str, index: int) -> str:
        for turn, block in enumerate(cast(nn.Sequential, self._network.attention[index])):
            source = self._block(
                source, cast(MultiSizeSelfAttention, block), name=f"attend/{index}_{turn}"
            )
        return source

    def _block(self, source: str, block: MultiSizeSelfAttention, *, name: str) -> str:
        branches = [
            self._branch(source, cast(PatchAttention, branch), name=f"{name}/grid_{branch.grid}")
            for branch in block.branches
        ]
        joined = self._nodes.node("Concat", branches, f"{name}/joined", axis=1)
        body = self._nodes.sequence(joined, block.block.body, name=f"{name}/body")
        skip = self._nodes.conv(joined, block.block.skip, None, name=f"{name}/skip")
        return self._nodes.node("Add", [body, skip], f"{name}/sum")

    def _branch(self, source: str, branch: PatchAttention, *, name: str) -> str:
        """Attention between the patches of one size (`PatchAttention.forward`)."""
        nodes, (height, width), grid = self._nodes, branch.patch, branch.grid
        channels = branch.elements // (height * width)
        if grid == 1:  # the whole map is one patch, and attends to itself alone
            scale = branch.value_scale.reshape(1, channels, height, width)
            bias = branch.value_bias.reshape(1, channels, height, width)
            return nodes.scale_by(source, scale, bias, name=f"{name}/value")
        cut = [self._batch, channels, grid, height, grid, width]
        parts = nodes.reshape(source, cut, f"{name}/parts")
        apart = nodes.node("Transpose", [parts], f"{name}/apart", perm=[0, 2, 4, 1, 3, 5])
        rows = [self._batch, grid * grid, branch.elements]
        patches = nodes.reshape(apart, rows, f"{name}/patches")
        weighed = nodes.node("MatMul", [self._weights(patches, branch, name), patches], name)
        scale, bias = branch.value_scale, branch.value_bias
        value = nodes.scale_by(weighed, scale, bias, name=f"{name}/value")
        laid = [self._batch, grid, grid, channels, height, width]
        apart = nodes.reshape(value, laid, f"{name}/laid")
        parts = nodes.node("Transpose", [apart], f"{name}/back", perm=[0, 3, 1, 4, 2, 5])
        whole = [self._batch, channels, grid * height, grid * width]
        return nodes.reshape(parts, whole, f"{name}/joined")

    def _weights(self, patches: str, branch: PatchAttention, name: str) -> str:
        """How much each patch looks at each other one: (N, T, T), rows that sum to 1.

        The network divides the query by the number of terms of its product; in float16 that would
        be subnormal, and without it the product would overflow. So each factor gets the root.
        """
        nodes, root = self._nodes, branch.elements**-0.5
        scale, bias = branch.query_scale * root, branch.query_bias * root
        query = nodes.scale_by(patches, scale, bias, name=f"{name}/query")
        small = nodes.scale_by(patches, scale.new_tensor(root), None, name=f"{name}/small")
        key = nodes.node("Transpose", [small], f"{name}/key", perm=[0, 2, 1])
        likeness = nodes.node("MatMul", [query, key], f"{name}/likeness")
        return nodes.node("Softmax", [likeness], f"{name}/weights", axis=-1)

    def _decode(self, deepest: str, fused: Sequence[str]) -> str:
        decoder: Decoder = self._network.decoder
        inner, before = deepest, self._shape.sizes[-1]
        before = (before[0] // 2, before[1] // 2)
        for index in reversed(range(len(fused))):
            level, size = cast(Level, decoder.levels[index]), self._shape.sizes[index]
            name = f"decode/{index}"
            up = self._up(inner, level.up, before, size, name=name)
            joined = self._nodes.node("Concat", [up, fused[index]], f"{name}/joined", axis=1)
            inner, before = self._nodes.sequence(joined, level.convs, name=name), size
        return self._logit(inner, decoder.logit)

    def _logit(self, source: str, logit: Logit) -> str:
        """(N, H, W), float32: the map's last steps, as ProtoAD's (`Logit.forward`)."""
        nodes, name = self._nodes, f"{EXACT}logit"
        height, width = self._shape.sizes[0]
        maps = nodes.conv(source, logit.conv, None, name="decode/places")
        places = nodes.reshape(maps, [self._batch, 3, 3, height, width], f"{name}/places")
        apart = nodes.node("Transpose", [places], f"{name}/apart", perm=[0, 1, 3, 2, 4])
        beside = nodes.reshape(apart, [self._batch, 3, height, 3 * width], f"{name}/beside")
        columns = nodes.constant(f"{name}/columns", array(logit.columns))
        wide = nodes.node("MatMul", [beside, columns], f"{name}/wide")
        above = nodes.reshape(
            wide, [self._batch, 3 * height, self._shape.image_size[1]], f"{name}/above"
        )
        rows = nodes.constant(f"{name}/rows", array(logit.rows))
        whole = nodes.node("MatMul", [rows, above], f"{name}/whole")
        bias = nodes.constant(f"{name}/bias", array(logit.bias))
        return nodes.node("Add", [whole, bias], name)


def _factors(before: Size, after: Size) -> tuple[float, float]:
    return after[0] / before[0], after[1] / before[1]


def _check(features: FeaturesGraph, network: PRN) -> None:
    shape = network.shape
    if network.training:
        raise ValueError("the network is in training mode; call eval() before the export")
    found = tuple((s.name, s.channels, (s.height, s.width)) for s in features.stages)
    wanted = tuple(zip(shape.stages, shape.channels, shape.sizes, strict=True))
    if found != wanted or features.size != shape.image_size:
        raise ValueError(f"the graph's stages are {found}, the network's {wanted}")
