"""The real engine of TensorRT plans on a fake GPU, what it is shown, and what it must say."""

from __future__ import annotations

import numpy as np
from fake_cuda import Machine
from fake_tensorrt import PLAN, FakeTensorRt, expected

from engines.gpu.engine import Libraries, TensorRtEngine
from engines.plans.compile import Plan


def opened(machine: Machine, trt: FakeTensorRt | None = None, **options) -> TensorRtEngine:
    """An engine of a plan on that machine; `options` are its own, and the plan's."""
    plan = Plan(
        plan=options.pop("plan", PLAN),
        flavour=options.pop("flavour", "tensorrt"),
        version="10.3.0",
        gpu=("sm89",),
        onnx_sha256="",
        layers=(),
    )
    libraries = Libraries(machine.cuda, trt or FakeTensorRt(machine))
    return TensorRtEngine(plan, libraries=libraries, **options)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 16, 3), dtype=np.uint8)


def same(given, images) -> bool:
    wanted = expected(images)
    return all(np.array_equal(*pair) for pair in zip(given, wanted, strict=True))
