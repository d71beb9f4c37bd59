"""A machine with a GPU that computes what a graph says, for `edge doctor --prove`; and sick ones.

The GPU, CUDA and TensorRT are the fakes; a plan is played by ONNX Runtime. Everything else, from
the drawn pictures to the table, is what a machine with a card runs.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cuda import Driver, FakeCuda, Machine, Runtime, driver
from fake_tensorrt import FakeTensorRt

from calibrate.progress import Stages
from calibrate.symbolic_batch import with_symbolic_batch
from edge.prove import ground as ground_module
from edge.prove.claim import Claim, TriedClaim
from edge.prove.ground import ProvingGround
from edge.prove.machine import PRECISIONS
from edge.prove.prove import try_claims
from edge.prove.subject import Subject, SubjectOptions, open_reference
from engines import cuda as cuda_module
from engines.cuda import Cuda, Gpu
from engines.engine import Precision
from engines.gpu import engine as engine_module
from engines.gpu import reopen
from engines.plans import find_or_compile
from engines.plans.layers import Layer
from engines.plans.plan import CompileSettings, Plan

SIZE = 64
TOTAL = 8 << 30
HERE = Gpu(0, "Fake 1", "sm87", TOTAL, integrated=False, driver="12.6")


class ProofRuntime(Runtime):
    def cudaMemGetInfo(self) -> tuple[int, int]:  # noqa: N802
        used = sum(len(block.data) for block in self.gpu.blocks.values()) + self.machine.leaked
        return TOTAL - used, TOTAL

    def cudaRuntimeGetVersion(self) -> tuple[int]:  # noqa: N802
        return (12090,)


class ProofDriver(Driver):
    """Takes a module and a kernel of it; a launch is the end of the context."""

    def cuModuleLoadData(self, image: bytes) -> tuple[Any]:  # noqa: N802
        assert image.endswith(b"\0")
        return (driver.CUmodule(1),)

    def cuModuleGetFunction(self, hmod: Any, name: bytes) -> tuple[Any]:  # noqa: N802
        assert int(hmod) == 1 and name == b"stray"
        return (driver.CUfunction(2),)

    def cuLaunchKernel(  # noqa: N802
        self,
        f: Any,
        gridDimX: int,
        gridDimY: int,
        gridDimZ: int,
        blockDimX: int,
        blockDimY: int,
        blockDimZ: int,
        sharedMemBytes: int,
        hStream: int,
        kernelParams: Any,
        extra: int,
    ) -> None:
        assert int(f) == 2
        self.gpu.lost = 700


class ProofMachine(Machine):
    """Attributes: leaked: bytes that nobody will free."""

    def __init__(self, *, integrated: bool) -> None:
        super().__init__(integrated=integrated)
        self.leaked = 0
        self.cuda = FakeCuda(ProofRuntime(self), ProofDriver(self))


class ProofWorld:
    """This process, on that machine.

    Attributes:
        compiled: graphs, in order.
        leaks: bytes that each frame leaks.
        error: what is added to each score.
        map_error: what is added to each map.
        executed: the precision that every plan comes out in; empty where it is the graph's.
        revival_s: how long a lost GPU may take to come back.
        confuses: how many answers are given before one is to another picture; 0 never.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        folder: Path,
        graph: Callable[[str], bytes],
        *,
        capturable: bool = True,
        integrated: bool = False,
        rtx: bool = False,
        through: Callable[[Machine], Machine] = lambda machine: machine,
    ) -> None:
        self.machine = ProofMachine(integrated=integrated)
        through(self.machine)
        self.trt = FakeTensorRt(self.machine, rtx=rtx, size=(SIZE, SIZE), capturable=capturable)
        self.trt.__spec__ = SimpleNamespace()  # type: ignore[attr-defined]
        self.compiled: list[bytes] = []
        self.leaks, self.error, self.map_error = 0, 0.0, 0.0
        self.executed, self.confuses = "", 0
        self.revival_s = 10.0
        self.folder = folder
        self.graph = functools.cache(lambda precision: with_symbolic_batch(graph(precision)))
        patch.setitem(sys.modules, "tensorrt", self.trt)
        patch.setattr(Cuda, "installed", classmethod(lambda cls: self.machine.cuda))
        for module in (cuda_module, engine_module, ground_module):
            patch.setattr(module, "gpus", lambda: [HERE])
        patch.setattr(find_or_compile, "compile_plan", self.compile)
        patch.setattr(reopen, "WAITS_S", (0.01,))

    def try_all(self, claims: Sequence[Claim]) -> dict[str, TriedClaim]:
        """By the claims' names."""
        with ProvingGround(
            self.folder, "tensorrt", seconds=0.1, revival_s=self.revival_s, learn=self.subject
        ) as ground:
            tried = try_claims(claims, ground, Stages())
        return {claim.name: claim for claim in tried}

    def subject(self, _: Path, precision: Precision, options: SubjectOptions) -> Subject:
        """A small graph in place of one that was learnt, with a threshold amid its scores."""
        model = self.graph(precision)
        random = np.random.default_rng(options.seed)
        coarse = random.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
        images = np.repeat(np.repeat(coarse, SIZE // 8, axis=1), SIZE // 8, axis=2)
        scores = np.sort(self.reference(model, precision).infer(images)[1])
        threshold = float(scores[4:6].mean())
        return Subject(precision, model, threshold, threshold - float(scores[2]), images)

    @functools.lru_cache(maxsize=3)  # noqa: B019 - a world lives for one test
    def reference(self, model: bytes, precision: Precision) -> Any:
        """ONNX Runtime, which plays the plan."""
        return open_reference(model, precision)

    def compile(
        self,
        model: bytes,
        *,
        flavour: str,
        gpu: tuple[str, ...],
        settings: CompileSettings,
        **_: object,
    ) -> Plan:
        self.compiled.append(model)
        digest = hashlib.sha256(model).hexdigest()
        content = f"plan of {digest} for {settings.images}".encode()
        if settings.images > 1:
            self.trt.profiles[content] = settings.images
        precision = next(name for name in PRECISIONS if self.graph(name) == model)
        self.trt.computes[content] = functools.partial(self.compute, model, precision)
        layer = Layer(
            name="c",
            kind="convolution",
            inputs=(self.executed or precision,),
            outputs=(self.executed or precision,),
            tactic="",
            nodes=("c",),
        )
        return Plan(
            plan=content,
            flavour=flavour,
            version=self.trt.__version__,
            gpu=gpu,
            device=HERE.name,
            driver=HERE.driver,
            onnx_sha256=digest,
            layers=(layer,),
            batch=settings.batch,
        )

    def compute(self, model: bytes, precision: Precision, images: np.ndarray) -> Any:
        self.machine.leaked += self.leaks
        self.confuses -= bool(self.confuses)
        if self.confuses == 1:
            images = images[:, ::-1]
        maps, scores = self.reference(model, precision).infer(images)
        return maps + np.float32(self.map_error), scores + np.float32(self.error)
