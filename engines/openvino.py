"""OpenVINO on the CPU: the fastest engine where there is no NVIDIA GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any, cast

from engines.batches import Signature, check_images, run_in_batches, signature_from_input
from engines.cpu import BF16_INSTRUCTIONS, cpu_instructions
from engines.engine import Images, Output, Precision
from engines.errors import EngineError

NAME = "openvino"
TELEMETRY = "openvino_telemetry"


class OpenVinoEngine:
    """A graph compiled for the CPU, one stream, lowest latency.

    Args:
        model: serialised ONNX, input `image` uint8 (N, H, W, 3).
        precision: of the graph. ``fp32`` computes in f32 exactly. ``fp16`` and ``int8`` let
            convolutions that are not quantised run in bf16 where the processor has the
            instructions, and keep the end of the graph in f32 (see `engines.openvino_precision`).
        threads: per call; None takes all physical cores.

    Raises:
        EngineError: OpenVINO is missing, or it doesn't take the graph.
    """

    name = NAME

    def __init__(self, model: bytes, *, precision: Precision, threads: int | None = None) -> None:
        from engines.openvino_precision import executes

        self._request: Any = None
        openvino = import_openvino()
        try:
            core = openvino.Core()
            self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
            compiled = _compile(core, model, precision=precision, threads=threads)
            self._signature = _signature(compiled)
            self.executes = executes(compiled)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineError(
                f"{NAME}: it does not take this graph: {_last_line(error)}; build the bundle again"
            ) from error
        self.outputs: Sequence[str] = self._signature.outputs
        self.size = self._signature.size

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; see `Engine.infer`."""
        if self._request is None:
            raise EngineError(f"{NAME}: the engine is closed; open it again")
        check_images(images, self._signature, where=NAME)
        return run_in_batches(images, self._signature, self._run)

    def _run(self, chunk: Images) -> list[Output]:
        try:
            self._request.infer([chunk], share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"{NAME}: {_last_line(error)}") from error
        # The request writes into the same memory again: what the caller gets must be a copy.
        return [
            self._request.get_output_tensor(index).data.copy()
            for index in range(len(self._signature.outputs))
        ]

    def close(self) -> None:
        """Release the request and the compiled graph; a second call does nothing."""
        self._request = None

    def __enter__(self) -> OpenVinoEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def import_openvino() -> ModuleType:
    """Import OpenVINO without its usage reports.

    `import openvino` alone sends an event over the network and writes an identifier into the home
    folder, unless its telemetry package cannot be imported: then it takes its own empty stand-in.

    Raises:
        EngineError: it is not installed, or broken.
    """
    try:
        with _not_importable(TELEMETRY):
            import openvino
    except ImportError as error:
        raise EngineError(f"{NAME}: {error}; pip install 'protoedge[cpu]'") from error
    return cast(ModuleType, openvino)


@contextmanager
def _not_importable(name: str) -> Iterator[None]:
    """Make ``import name`` fail inside the block: None in `sys.modules` does that."""
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    before = modules.get(name)
    had = name in modules
    modules[name] = None
    try:
        yield
    finally:
        if had:
            modules[name] = before
        else:
            del modules[name]


def has_bf16(core: Any) -> bool:
    """Whether bf16 is native here: the plugin emulates it on any AVX-512, slower than f32."""
    natively = bool(BF16_INSTRUCTIONS & cpu_instructions())
    return natively and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compile(core: Any, model: bytes, *, precision: Precision, threads: int | None) -> Any:
    from engines.openvino_precision import compile_mixed
    from engines.openvino_signs import concats_rounded_without_sign

    config: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    if precision == "int8":
        model = concats_rounded_without_sign(model)
    graph = core.read_model(model)
    if precision == "fp32" or not has_bf16(core):
        return core.compile_model(graph, "CPU", config)
    return compile_mixed(core, graph, config)


def _signature(compiled: Any) -> Signature:
    if len(compiled.inputs) != 1:
        raise EngineError(f"{NAME}: the graph has {len(compiled.inputs)} inputs, not `image` alone")
    found = compiled.inputs[0]
    shape = [size.get_length() if size.is_static else -1 for size in found.get_partial_shape()]
    return signature_from_input(
        found.get_any_name(),
        dtype=found.get_element_type().get_type_name(),
        shape=shape,
        outputs=[output.get_any_name() for output in compiled.outputs],
        where=NAME,
    )


def _last_line(error: Exception) -> str:
    """OpenVINO's messages begin with lines that name its source files; the cause comes last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception from ")]
    return " ".join(told or lines)[:400]
