"""Engines while a build learns: on a GPU, graphs that differ in their heads share what is compiled.

A build runs some ten inspectors: one for each fold at each precision, and whatever the comparison
of precisions tries. All have the same body, which computes features, and heads of their own, which
compare them with prototypes. Compiling each for TensorRT would take minutes. So a GPU gets the
body, once a precision, and the heads run on ONNX Runtime, in the arithmetic that the graph says.
The inspector that is shipped is compiled whole, and its plan is kept.

On a CPU an engine is opened within a second, and every graph gets one of its own.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import onnx

from calibrate.node_names import HEAD
from calibrate.progress import Stages
from calibrate.protoad.graph import PRED_SCORE
from edge.result import Say
from engines.batches import with_batch
from engines.choose import engine_on, open_engine
from engines.cpu.onnxruntime import as_engine_error
from engines.cpu.pooled_maxima import graph_with_pooled_maxima
from engines.engine import EXACT, Engine, EngineOptions, Images, Output, Precision, say_nothing
from engines.plans.flavours import MODULES

BODY = "body"


class LearningEngines(AbstractContextManager["LearningEngines"]):
    """Opens engines; those whose graphs are compiled stay open until the build ends.

    So each is compiled once, also by a user who has no place for the key that seals a plan.

    Args:
        stages: each plan that is compiled is one.
        device: number of the GPU; None leaves it to the engine.
        batch: images that the shipped inspector's plan takes at once, at most.
        say: receives what the compiler has to say, such as why a plan cannot be kept.
    """

    def __init__(
        self, stages: Stages, say: Say = say_nothing, *, batch: int = 1, device: int | None = None
    ) -> None:
        self._stages = stages
        self._batch = batch
        self._device = device
        self._say = say
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._compiled: dict[str, Engine] = {}

    def open(self, engine: str, model: bytes, precision: Precision) -> Engine:
        """Open an engine to learn with.

        Args:
            engine: its name.
            model: serialised ONNX.
            precision: of the graph.

        Raises:
            EngineError: as `engines.choose.open_engine`.
        """
        if engine not in MODULES:
            return open_engine(model, engine=engine, options=EngineOptions(precision))
        body, head = split_head(model)
        outputs = [output.name for output in onnx.load_model_from_string(model).graph.output]
        if head is None and PRED_SCORE in outputs:  # PRN's is one network, held out or not
            return self.open_whole(engine, model, precision)
        opened = self._open_compiled(engine, body, precision, what="features")
        if head is None:
            return BorrowedEngine(opened, outputs)
        return HeadEngine(BorrowedEngine(opened, opened.outputs), head)

    def open_whole(self, engine: str, model: bytes, precision: Precision) -> Engine:
        """Open the engine that is shipped, its graph in one piece; its plan is in `plans_of`."""
        if engine not in MODULES:
            return open_engine(model, engine=engine, options=EngineOptions(precision))
        opened = self._open_compiled(engine, model, precision, what="inspector", batch=self._batch)
        return BorrowedEngine(opened, opened.outputs)

    def difference(
        self, whole: Engine, model: bytes, precision: Precision, images: Images
    ) -> float:
        """By how much scores of the whole inspector differ from those of its two parts, at most.

        Args:
            whole: the engine that is shipped.
            model: its graph.
            precision: of it.
            images: (N, H, W, 3) uint8 BGR of its size.
        """
        with self.open(whole.name, model, precision) as parts:
            scores = [engine.infer(images)[1] for engine in (whole, parts)]
        return float(np.abs(scores[0] - scores[1]).max())

    def plans_of(self, model: bytes) -> list[Path]:
        """The files of the plans that were compiled of a graph; none on a CPU."""
        if _digest(model) not in self._compiled or self._folder is None:
            return []
        folder = self._folder / _digest(model)
        # A disk that became full may have left a plan without its sidecar, which is none.
        whole = [plan for plan in folder.glob("*.plan") if plan.with_suffix(".json").exists()]
        return [file for plan in sorted(whole) for file in (plan, plan.with_suffix(".json"))]

    def close(self) -> None:
        """Close and remove what was compiled; a second call does nothing."""
        self._stack.close()
        self._compiled.clear()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_compiled(
        self, engine: str, model: bytes, precision: Precision, *, what: str, batch: int = 1
    ) -> Engine:
        digest = _digest(model)
        if digest in self._compiled:
            return self._compiled[digest]
        if self._folder is None:
            folder = tempfile.TemporaryDirectory(prefix="edge-plans-")
            self._folder = Path(self._stack.enter_context(folder))
        with self._stages.stage(f"{engine} {what} {precision}") as advance:
            options = EngineOptions(
                precision, self._folder / digest, say=self._say, progress=advance, batch=batch
            )
            where = engine_on(engine, self._device)
            opened = open_engine(model, engine=where, options=options)
        self._compiled[digest] = self._stack.enter_context(opened)
        return opened


class BorrowedEngine(AbstractContextManager["BorrowedEngine"]):
    """An engine that others use too; an `Engine`, and closing it does nothing.

    Args:
        engine: the build's.
        outputs: its outputs in the order that is wanted: a body's are in the order of their names,
            a features graph's from the finest stage on.
    """

    def __init__(self, engine: Engine, outputs: Sequence[str]) -> None:
        self._engine = engine
        self.name, self.device, self.executes = engine.name, engine.device, engine.executes
        self.size, self.outputs = engine.size, outputs

    def infer(self, images: Images) -> tuple[Output, ...]:
        """As every engine does."""
        found = dict(zip(self._engine.outputs, self._engine.infer(images), strict=True))
        return tuple(found[name] for name in self.outputs)

    def close(self) -> None:
        """Leave it open for the next one."""

    def __exit__(self, *_: object) -> None:
        self.close()


class HeadEngine(AbstractContextManager["HeadEngine"]):
    """An inspector in two: features by one engine, the head by ONNX Runtime; an `Engine`.

    Args:
        body: computes what the head takes; closed with this.
        head: serialised ONNX, from the body's outputs to the map and the score.

    Raises:
        EngineError: ONNX Runtime does not take the head; it fails in `infer` likewise.
    """

    def __init__(self, body: Engine, head: bytes) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._body = body
        providers = ["CPUExecutionProvider"]
        with as_engine_error(f"{body.name}: its head"):
            pooled = graph_with_pooled_maxima(head)
            self._session = ort.InferenceSession(pooled, options, providers=providers)
        self.name, self.device, self.executes = body.name, body.device, body.executes
        self.size = body.size
        self.outputs: Sequence[str] = [output.name for output in self._session.get_outputs()]

    def infer(self, images: Images) -> tuple[Output, ...]:
        """As every engine does, an image at a time."""
        found = [self._infer_one(images[index : index + 1]) for index in range(len(images))]
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def close(self) -> None:
        """Release both; a second call does nothing."""
        self._body.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _infer_one(self, image: Images) -> list[Output]:
        features = self._body.infer(image)
        given = dict(zip(self._body.outputs, features, strict=True))
        with as_engine_error(f"{self.name}: its head"):
            return list(self._session.run(list(self.outputs), given))


def _digest(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()[:32]


def split_head(model: bytes) -> tuple[bytes, bytes | None]:
    """A graph's body and head for one image; of a graph without a head the body is all of it.

    Two graphs whose bodies compute the same have the same bytes for it, whatever their heads.

    Args:
        model: serialised ONNX: an inspector of ProtoAD's, a features graph, or any other.

    Returns:
        Serialised ONNX of both; the head's inputs are the body's outputs, by their names.
    """
    parsed = onnx.load_model_from_string(with_batch(model, 1))
    graph = parsed.graph
    of_head, of_body = _divided(graph.node)
    if of_head:
        made = {name for node in of_body for name in node.output}
        between = sorted({name for node in of_head for name in node.input} & made)
    else:
        between = sorted(output.name for output in graph.output)
    known = {value.name: value for value in _values(parsed)}
    if any(name not in known for name in between) or _uses_input(of_head, graph):
        return model, None
    body = _part(parsed, of_body, list(graph.input), [known[name] for name in between])
    if not of_head:
        return body, None
    return body, _part(parsed, of_head, [known[name] for name in between], list(graph.output))


def _divided(
    nodes: Iterable[onnx.NodeProto],
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """The head's nodes with all that follows from them, and the others; both in order."""
    of_head, of_body = list[onnx.NodeProto](), list[onnx.NodeProto]()
    made = set[str]()
    for node in nodes:
        named = node.name.removeprefix(EXACT).startswith(HEAD)
        if named or made.intersection(node.input):
            of_head.append(node)
            made.update(node.output)
        else:
            of_body.append(node)
    return of_head, of_body


def _uses_input(nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto) -> bool:
    given = {value.name for value in graph.input}
    return any(name in given for node in nodes for name in node.input)


def _values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return [*inferred.value_info, *inferred.output]


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> bytes:
    """Some nodes of a graph with the weights that they use, and nothing that names the whole."""
    used = {name for node in nodes for name in node.input}
    weights = sorted(
        (one for one in model.graph.initializer if one.name in used), key=lambda one: one.name
    )
    graph = onnx.helper.make_graph(nodes, BODY, inputs, outputs, weights)
    made = onnx.helper.make_model(
        graph, opset_imports=sorted(model.opset_import, key=lambda one: one.domain)
    )
    made.ir_version = model.ir_version
    return bytes(made.SerializeToString(deterministic=True))
