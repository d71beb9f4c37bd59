"""Claims about the machine: its versions, what it compiles, what it falls back on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping

from edge.prove.errors import DisprovenError, NotPossibleError
from edge.prove.ground import ProvingGround
from engines.choose import installed_version
from engines.cuda import gpus
from engines.engine import Precision
from engines.errors import EngineError
from engines.gpu.engine import Libraries
from engines.installing import driver_release
from engines.plans.compile import compile_plan
from engines.plans.flavours import MODULES, RTX, TENSORRT, import_flavour
from engines.plans.layers import executes

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
ANY_RTX_GPU = "sm89"
MAX_START_S = 120
_CHOOSE = (
    "import json, sys; from engines.choose import choose_engine; chosen = choose_engine(); "
    "json.dump([chosen.name, chosen.reason], sys.stdout)"
)


def versions_here() -> dict[str, str]:
    """What is installed here, by name; what is not is left out."""
    found = {
        "python": f"{platform.python_version()} {platform.machine()}",
        "protoedge": installed_version("protoedge"),
        "driver": driver_release(),
        "cuda-bindings": installed_version("cuda-bindings"),
        "pycuda": installed_version("pycuda"),
        **{flavour: _version_of(flavour) for flavour in MODULES},
        **_of_gpu(),
    }
    return {name: version for name, version in found.items() if version}


def prove_versions(ground: ProvingGround) -> str:
    """Prove that driver, CUDA and TensorRT answer, and say which they are."""
    cuda = Libraries.installed(ground.flavour).cuda
    number = int(cuda.run("cudaRuntimeGetVersion"))
    runtime = f"{number // 1000}.{number % 1000 // 10}"
    found: Mapping[str, str] = {**versions_here(), "cuda runtime": runtime}
    return ", ".join(f"{name} {version}" for name, version in found.items())


def prove_rtx_compiles(ground: ProvingGround) -> str:
    """Prove that TensorRT-RTX takes every precision's graph, which needs no GPU."""
    try:
        import_flavour(RTX)
    except EngineError as error:
        raise NotPossibleError(f"{RTX} is not installed ({error})") from error
    models = {precision: ground.subject(precision).model for precision in PRECISIONS}
    begun = time.monotonic()
    for precision, model in models.items():
        plan = compile_plan(model, flavour=RTX, gpu=(ANY_RTX_GPU,))
        if precision not in executes(plan.layers):
            raise DisprovenError(f"the {precision} graph became {executes(plan.layers)}")
    seconds = time.monotonic() - begun
    return f"{', '.join(PRECISIONS)} for {ANY_RTX_GPU} in {seconds:.1f} s"


def prove_fall_back(_ground: ProvingGround) -> str:
    """Prove that without a visible GPU a CPU engine is taken, and that the reason is said."""
    done = subprocess.run(
        [sys.executable, "-c", _CHOOSE],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=MAX_START_S,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DisprovenError(f"no engine was chosen: {last}")
    name, reason = json.loads(done.stdout)
    if name in MODULES:
        raise DisprovenError(f"{name} was taken, though the GPU is hidden: {reason}")
    if TENSORRT not in reason:
        raise DisprovenError(f"{name} was taken without a word about the GPU: {reason}")
    return str(reason)


def _version_of(flavour: str) -> str:
    try:
        return str(import_flavour(flavour).__version__)
    except EngineError:
        return ""


def _of_gpu() -> dict[str, str]:
    try:
        found = gpus()[0]
    except EngineError:
        return {}
    return {"gpu": f"{found.name} ({found.compute_capability})", "driver for CUDA": found.driver}
