"""Which layers a lower precision hurts most: one block at a time, measured.

A block is the convolutions between two joins of the graph, such as a residual block, with the
nodes around them: within one, a change of precision in the middle costs casts and gains little.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import shape_inference

from calibrate.node_names import HEAD, PREPROCESSING, HigherPrecisionNodes
from engines.engine import EXACT
from engines.graph_cost import costs_of
from engines.parity_record import KeptRecord

HigherPrecision = Literal["fp16", "fp32"]
MAX_BLOCKS = 12
MAX_HIGHER = 0.5
"""Share of the multiplications: a graph with more of them in higher precision is not what was
asked for."""
_POOLS = ("MaxPool", "AveragePool")
"""Joins that belong to no block unless all that reads them does: OpenVINO computes them in the type
of what reads them, and would then, being told otherwise, run the whole graph in f32."""


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring nodes that share a precision.

    Attributes:
        name: its first and its last convolution.
        nodes: their names, in the graph's order.
        cost: share of the graph's multiplications.
        precision: in which it can be kept.
    """

    name: str
    nodes: tuple[str, ...]
    cost: float
    precision: HigherPrecision = "fp32"

    @property
    def higher_nodes(self) -> HigherPrecisionNodes:
        """All of it in its precision."""
        return dict.fromkeys(self.nodes, self.precision)


@dataclass(frozen=True, slots=True)
class RankedBlock:
    """A block, and what keeping it alone did.

    Attributes:
        block: that was kept.
        removed: share of the error that went away; below 0 if it grew.
    """

    block: Block
    removed: float

    @property
    def worth(self) -> float:
        """Error removed for what it costs."""
        return self.removed / max(self.block.cost, 1e-6)

    @property
    def record(self) -> KeptRecord:
        """For the report and the manifest."""
        block = self.block
        return KeptRecord(
            name=block.name,
            nodes=block.nodes,
            precision=block.precision,
            cost=block.cost,
            error_removed=self.removed,
        )


def blocks_of(model: bytes) -> tuple[Block, ...]:
    """Divide an fp32 graph into at most `MAX_BLOCKS` blocks; cheap neighbours are joined.

    The preprocessing and what is exact already belong to none.

    Args:
        model: serialised ONNX, static shapes, every node named.
    """
    graph = shape_inference.infer_shapes(
        onnx.load_model_from_string(model), strict_mode=True, data_prop=True
    ).graph
    costs = {cost.node: cost.flop for cost in costs_of(graph) if cost.kind == "Conv"}
    total = max(sum(costs.values()), 1)
    parts = _add_pools(
        graph, _join_cheapest(_join_lone_convolutions(graph, _parts(graph, costs), costs), costs)
    )
    blocks = []
    for part in parts:
        heavy = [name for name in part if name in costs]
        name = heavy[0] if len(heavy) == 1 else f"{heavy[0]} … {heavy[-1]}"
        cost = sum(costs[name] for name in heavy) / total
        blocks.append(Block(name.replace("/", "."), tuple(part), cost))
    return tuple(blocks)


def to_next_precision(blocks: Sequence[Block], quantised: Collection[str]) -> tuple[Block, ...]:
    """The same blocks, each in the precision that is next: fp16 for what an int8 graph quantises.

    Args:
        blocks: in fp32.
        quantised: names of the convolutions that become INT8.
    """
    found = []
    for block in blocks:
        nodes = tuple(name for name in block.nodes if name in quantised)
        found.append(replace(block, nodes=nodes, precision="fp16") if nodes else block)
    return tuple(found)


def rank_blocks(
    blocks: Sequence[Block],
    *,
    error_of: Callable[[HigherPrecisionNodes], float],
    progress: Callable[[float], None] | None = None,
) -> list[RankedBlock]:
    """Keep one block after the other; those that remove most error for their cost come first.

    Args:
        blocks: to choose from.
        error_of: the scores' error with so much kept.
        progress: told the share done.
    """
    whole = max(error_of({}), 1e-12)
    found = []
    for done, block in enumerate(blocks, start=1):
        found.append(RankedBlock(block, 1 - error_of(block.higher_nodes) / whole))
        if progress:
            progress(done / len(blocks))
    return sorted(found, key=lambda entry: -entry.worth)


def within_work_budget(order: Sequence[RankedBlock], most: float = MAX_HIGHER) -> list[RankedBlock]:
    """Those that fit into the share of multiplications that may be kept, in their order."""
    chosen: list[RankedBlock] = []
    for entry in order:
        if sum(each.block.cost for each in chosen) + entry.block.cost <= most:
            chosen.append(entry)
    return chosen


def blocks_needed(
    order: Sequence[RankedBlock], *, error_of: Callable[[HigherPrecisionNodes], float], share: float
) -> int:
    """How many blocks, in their order, leave at most a share of the error; all if none do.

    Args:
        order: the blocks, the worthiest first.
        error_of: the scores' error with so much kept.
        share: of the error with nothing kept.
    """
    wanted = share * error_of({})
    counts = range(1, len(order))
    return next((n for n in counts if error_of(nodes_of_blocks(order[:n])) <= wanted), len(order))


def nodes_of_blocks(chosen: Sequence[RankedBlock]) -> HigherPrecisionNodes:
    """The nodes of all of them."""
    return {name: kind for entry in chosen for name, kind in entry.block.higher_nodes.items()}


def root_mean_square(errors: npt.NDArray[np.floating]) -> float:
    """Of errors; what is no number counts as 1, a whole margin."""
    known = np.where(np.isfinite(errors), errors, 1.0)
    return float(np.sqrt(np.mean(np.square(known, dtype=np.float64))))


def _parts(graph: onnx.GraphProto, costs: dict[str, int]) -> list[list[str]]:
    """Names between two joins, in order; a new part begins with the convolution behind a join."""
    computed = {name for node in graph.node for name in node.output}
    parts: list[list[str]] = []
    joined, head = True, False
    for node in graph.node:
        if _is_exact(node.name):
            continue
        in_head = node.name.startswith(HEAD)
        if node.op_type == "Conv" and (in_head != head or (joined and not in_head)):
            parts.append([])
            joined, head = False, in_head
        if parts and node.op_type not in _POOLS:
            parts[-1].append(node.name)
        both = sum(name in computed for name in node.input) > 1
        joined = joined or node.op_type in (*_POOLS, "Concat") or (node.op_type == "Add" and both)
    return [part for part in parts if any(name in costs for name in part)]


def _join_lone_convolutions(
    graph: onnx.GraphProto, parts: list[list[str]], costs: Mapping[str, int]
) -> list[list[str]]:
    """Join parts whose convolutions meet none of their own part with what follows them.

    Between a cast from fp16 and one back to it, TensorRT-RTX 1.7 computes a lone fp32 convolution
    in fp16, which the proof of precision then refuses.
    """
    found: list[list[str]] = []
    for part in reversed(parts):
        alone = not _convolutions_meet(graph, part, costs)
        if alone and found:
            found[0] = [*part, *found[0]]
        else:
            found.insert(0, part)
    return found


def _convolutions_meet(
    graph: onnx.GraphProto, part: Sequence[str], costs: Mapping[str, int]
) -> bool:
    """Whether some convolution of a part reads what another one, or the nodes behind it, gives."""
    behind: set[str] = set()
    for node in graph.node:
        if node.name not in part:
            continue
        reads = any(name in behind for name in node.input)
        if reads and node.name in costs:
            return True
        if reads or node.name in costs:
            behind.update(node.output)
    return False


def _add_pools(graph: onnx.GraphProto, parts: list[list[str]]) -> list[list[str]]:
    """Add the pools that lie wholly within a part; what is exact already counts as within."""
    found = [set(part) for part in parts]
    readers: dict[str, list[str]] = {}
    makers: dict[str, str] = {}
    for node in graph.node:
        makers |= dict.fromkeys(node.output, node.name)
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    for node in graph.node:
        if node.op_type in _POOLS:
            reading = [name for name in readers.get(node.output[0], ()) if not _is_exact(name)]
            for part in found:
                if makers.get(node.input[0]) in part and all(name in part for name in reading):
                    part.add(node.name)
    return [[node.name for node in graph.node if node.name in part] for part in found]


def _is_exact(name: str) -> bool:
    return name.startswith((PREPROCESSING, EXACT))


def _join_cheapest(parts: list[list[str]], costs: dict[str, int]) -> list[list[str]]:
    """Join the cheapest pair of neighbours until there are few enough."""

    def cost(part: list[str]) -> int:
        return sum(costs.get(name, 0) for name in part)

    parts = [list(part) for part in parts]
    while len(parts) > MAX_BLOCKS:
        sums = [cost(one) + cost(other) for one, other in pairwise(parts)]
        least = int(np.argmin(sums))
        parts[least : least + 2] = [parts[least] + parts[least + 1]]
    return parts
