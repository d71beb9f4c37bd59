"""Claims about what a frame costs: one launch of a CUDA graph, no allocation, and how long."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from edge.prove.errors import DisprovenError, NotPossibleError
from edge.prove.ground import ProvingGround
from engines.engine import Engine, Images
from engines.plans.flavours import RTX
from engines.pycuda_binding import NO_GRAPHS

FRAMES = 50
TIMED = 300
WARM_UP = 20
LAUNCH = "cudaGraphLaunch"
ALLOCATES = re.compile(r"alloc|create|instantiate", re.IGNORECASE)
OWN_GRAPH = "a graph of its own"
TRTEXEC = {RTX: ("tensorrt_rtx",), "tensorrt": ("trtexec", "/usr/src/tensorrt/bin/trtexec")}
MAX_TRTEXEC_S = 300
STRONG_BY_ITSELF = 11  # the major version from which every network is strongly typed
SLOWER, OVERHEAD_MS = 1.25, 0.2
"""How much longer than trtexec's median a frame may take: Python and two copies of it are in it."""
_MEDIAN = re.compile(r"\] Latency: .*?median = ([\d.]+) ms")


def prove_graph(ground: ProvingGround) -> str:
    """Prove that upload, plan and download were captured as one CUDA graph."""
    why = ground.engine("fp16").why_no_graph
    if OWN_GRAPH in why:
        raise NotPossibleError(f"{why}, as the plan allocates while it runs")
    if NO_GRAPHS in why:
        raise NotPossibleError(f"{NO_GRAPHS}; with cuda-bindings a frame is one launch")
    if why:
        raise DisprovenError(f"not captured: {why}")
    return "upload, plan and download are one graph"


def prove_one_launch(ground: ProvingGround) -> str:
    """Prove that a frame is one launch and nothing else that the GPU is given to do."""
    calls = _calls_of_frames(ground)
    launches = calls[LAUNCH] / FRAMES
    others = sum(count for name, count in calls.items() if "Memcpy" in name) / FRAMES
    if ground.engine("fp16").why_no_graph:
        raise NotPossibleError(f"no graph: {others:g} copies a frame, and what the plan launches")
    if launches != 1 or others:
        raise DisprovenError(f"{launches:g} launches and {others:g} copies a frame")
    return f"{FRAMES} frames, {calls[LAUNCH]} launches"


def prove_no_allocation(ground: ProvingGround) -> str:
    """Prove that a frame allocates nothing on the GPU, nor page-locked memory."""
    calls = _calls_of_frames(ground)
    allocating = {name: count for name, count in calls.items() if ALLOCATES.search(name)}
    if allocating:
        told = ", ".join(f"{name} {count} times" for name, count in allocating.items())
        raise DisprovenError(f"{FRAMES} frames called {told}")
    return f"{FRAMES} frames, none"


def prove_as_quick_as_trtexec(ground: ProvingGround) -> str:
    """Prove that a frame takes little longer than NVIDIA's own tool takes for the same graph."""
    image = ground.subject("fp16").images[:1]
    ours = median_ms(ground.engine("fp16"), image)
    tool = next(filter(None, map(shutil.which, TRTEXEC[ground.flavour])), None)
    if tool is None:
        names = " and ".join(TRTEXEC[ground.flavour])
        raise NotPossibleError(f"p50 {ours:.2f} ms; {names} not installed, nothing to compare with")
    theirs = _median_of_trtexec(tool, ground)
    seen = f"p50 {ours:.2f} ms, {Path(tool).name} {theirs:.2f} ms"
    if ours > SLOWER * theirs + OVERHEAD_MS:
        raise DisprovenError(
            seen, "see that nothing else uses GPU or CPU, and that the power mode is the highest"
        )
    return seen


def median_ms(engine: Engine, image: Images) -> float:
    """Median time of a frame, from host to host."""
    taken = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        engine.infer(image)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) * 1e3


def _calls_of_frames(ground: ProvingGround) -> Counter[str]:
    """CUDA's calls while an engine that is warm runs frames."""
    subject = ground.subject("fp16")
    ground.engine("fp16")  # so that there is a plan, or a reason why there is none
    engine, counted = ground.open_counted(subject)
    with engine:
        for _ in range(WARM_UP):
            engine.infer(subject.images[:1])
        counted.calls.clear()
        for _ in range(FRAMES):
            engine.infer(subject.images[:1])
        return Counter(counted.calls)


def _median_of_trtexec(tool: str, ground: ProvingGround) -> float:
    model = ground.folder / "subject.onnx"
    model.write_bytes(ground.subject("fp16").model)
    command = [tool, f"--onnx={model}", "--useCudaGraph", "--duration=3", "--warmUp=500"]
    command += _shapes(model)
    if ground.flavour != RTX and ground.tensorrt_major < STRONG_BY_ITSELF:
        command.append("--stronglyTyped")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MAX_TRTEXEC_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotPossibleError(f"{tool} took more than {MAX_TRTEXEC_S} s") from error
    found = _MEDIAN.search(done.stdout)
    if done.returncode or found is None:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["it said nothing"])[-1]
        raise DisprovenError(
            f"{tool} gave no median: {last}", f"run it by hand: {' '.join(command)}"
        )
    return float(found[1])


def _shapes(model: Path) -> list[str]:
    """What the tool is told of a graph whose batch is open; of another one it must not be told."""
    batch, *rest = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    sides = "x".join(str(side.dim_value) for side in rest)
    return [] if batch.dim_value else [f"--shapes=image:1x{sides}"]
