"""ONNX Runtime on the CPU: the reference that the other engines are checked against."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from types import ModuleType, TracebackType
from typing import Any, cast

from engines.batches import Signature, check_images, run_in_batches, signature_from_input
from engines.cpu import cpu_name
from engines.engine import Images, Output, Precision
from engines.errors import EngineError

NAME = "onnxruntime"
SILENT = 4
"""Severity "fatal": what goes wrong arrives as an exception, and nothing is printed."""


class OnnxRuntimeEngine:
    """A graph in an ONNX Runtime session with the CPU provider alone.

    Args:
        model: serialised ONNX, input `image` uint8 (N, H, W, 3).
        precision: of the graph; only said again in `executes`.
        threads: per call; None lets ONNX Runtime choose.

    Raises:
        EngineError: ONNX Runtime is missing, or it doesn't take the graph.
    """

    name = NAME

    def __init__(self, model: bytes, *, precision: Precision, threads: int | None = None) -> None:
        self._session: Any = None
        self._session, self._errors = _session_from_onnx(model, threads=threads)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise EngineError(f"{NAME}: the graph has {len(inputs)} inputs, not `image` alone")
        self._signature: Signature = signature_from_input(
            inputs[0].name,
            dtype=inputs[0].type,
            shape=inputs[0].shape,
            outputs=[output.name for output in self._session.get_outputs()],
            where=NAME,
        )
        self.device = cpu_name()
        self.executes = _arithmetic(precision)
        self.outputs: Sequence[str] = self._signature.outputs
        self.size = self._signature.size

    def infer(self, images: Images) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; see `Engine.infer`."""
        if self._session is None:
            raise EngineError(f"{NAME}: the engine is closed; open it again")
        check_images(images, self._signature, where=NAME)
        return run_in_batches(images, self._signature, self._run)

    def _run(self, chunk: Images) -> list[Output]:
        try:
            outputs: list[Output] = self._session.run(None, {"image": chunk})
        except self._errors as error:
            raise EngineError(f"{NAME}: {_one_line(error)}") from error
        return outputs

    def close(self) -> None:
        """Release the session; a second call does nothing."""
        self._session = None

    def __enter__(self) -> OnnxRuntimeEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime; its usage reports are switched off in the package's ``__init__``.

    Raises:
        EngineError: it is not installed, or broken.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"{NAME}: {_one_line(error)}; pip install onnxruntime") from error
    return cast(ModuleType, onnxruntime)


def _session_from_onnx(
    model: bytes, *, threads: int | None
) -> tuple[Any, tuple[type[Exception], ...]]:
    """A session, and the classes of everything that ONNX Runtime can raise (they share no base)."""
    onnxruntime = import_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    known = (found for found in vars(state).values() if isinstance(found, type))
    own = (found for found in known if issubclass(found, Exception))
    errors: tuple[type[Exception], ...] = (*own, RuntimeError, ValueError)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except errors as error:
        raise EngineError(
            f"{NAME}: it does not take this graph: {_one_line(error)}; build the bundle again"
        ) from error
    return session, errors


def _arithmetic(precision: Precision) -> str:
    """What the CPU provider computes in: x86 has no FP16 kernels, so casts surround FP32 ones."""
    if precision == "int8":
        return "int8+f32"
    if precision == "fp16" and platform.machine() == "aarch64":
        return "fp16"
    return "f32"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
