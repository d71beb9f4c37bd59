"""Whether fp16 is expected to be faster than int8, said of a plan before anybody has run it."""

from __future__ import annotations

from onnx.shape_inference import InferenceError

from calibrate.precision.fp16_from_int8 import fp16_from_int8
from engines.errors import EngineError
from engines.plans.compile import compile_plan
from engines.plans.flavours import RTX
from engines.plans.layers import executes
from engines.plans.plan import Plan
from engines.plans.roofline import Work, work_of


def note_where_fp16_is_faster(plan: Plan, model: bytes) -> Plan:
    """Compile the same in fp16 and note how the two compare, if int8 is the slower one.

    For TensorRT-RTX, which compiles without timing, in a second or two. TensorRT measures for
    minutes, on the GPU itself, where both can be timed.

    Args:
        plan: of any precision; one without INT8 is given back as it is.
        model: serialised ONNX that it was compiled from.
    """
    if plan.flavour != RTX or "int8" not in executes(plan.layers):
        return plan
    try:
        half = fp16_from_int8(model)
        other = compile_plan(half, flavour=plan.flavour, gpu=plan.gpu)
    except (EngineError, InferenceError) as error:
        note = f"not compared with fp16: {error}"
    else:
        note = _describe(work_of(plan.layers, model), work_of(other.layers, half))
    return plan.model_copy(update={"notes": (*plan.notes, note)}) if note else plan


def _describe(eight: Work, half: Work) -> str:
    if half.seconds >= eight.seconds:
        return ""
    return (
        f"fp16 is expected to be faster than int8 here: {half.kernels} kernels instead of "
        f"{eight.kernels}, {half.activation_bytes / 1e6:.1f} MB instead of "
        f"{eight.activation_bytes / 1e6:.1f} MB for each image's {eight.flop / 1e9:.1f} GFLOP; "
        "build with --precision fp16, or measure both with `edge bench`"
    )
