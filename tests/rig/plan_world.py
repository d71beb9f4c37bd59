"""A machine with plans of bundles, from the graph to the deserialiser; see `test_plan_stale`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from engines import sealed_files
from engines.cuda import Gpu
from engines.engine import EngineOptions
from engines.gpu.loaded_plan import LoadedPlan
from engines.plans import find_or_compile
from engines.plans.cache import PlanRecord
from engines.plans.layers import Layer
from engines.plans.plan import Plan

RTX, VERSION, HERE = "tensorrt-rtx", "1.7.1", "sm89"
MODEL, OTHER_MODEL = b"the graph of this bundle", b"the graph of another bundle"
CONVOLUTION = Layer(
    name="c", kind="convolution", inputs=("fp16",), outputs=("fp16",), tactic="", nodes=("c",)
)


class HandedOverError(Exception):
    """What the deserialiser raises after it has recorded what it got."""


@dataclass
class World:
    """A bundle's plan folder on this machine, and what happens to it."""

    home: Path
    flavour: str = RTX
    version: str = VERSION
    gpu: str = HERE
    device: str = "NVIDIA GeForce RTX 4070"
    driver: str = "13.0"
    model: bytes = MODEL
    compiled: list[bytes] = field(default_factory=list)
    deserialised: list[bytes] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    refused: tuple[bytes, ...] = ()  # how plans begin that the library does not take any more

    @property
    def folder(self) -> Path:
        return self.home / "bottle.edge" / "engines"

    @property
    def plan(self) -> Path:
        return self.folder / f"{RTX}-{HERE}.plan"

    @property
    def sidecar(self) -> Path:
        return self.plan.with_suffix(".json")

    @property
    def other(self) -> Path:
        """The plan of another bundle that this machine compiled."""
        return self.home / "casting.edge" / "engines" / self.plan.name

    @property
    def key(self) -> Path:
        return self.home / "state" / "protoedge" / "plan.key"

    def record(self) -> dict[str, object]:
        return json.loads(self.sidecar.read_bytes())

    def edit(self, *, sealed_with: bytes | None = None, **changes: object) -> None:
        """Write the sidecar anew; sealed only with a key that is given."""
        record = PlanRecord.model_validate({**self.record(), **changes})
        if sealed_with is not None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sealed_files, "machine_key", lambda: sealed_with)
                record = PlanRecord.model_validate(record.sealed())
        self.sidecar.write_text(record.model_dump_json())

    def compile(self, model: bytes, *, flavour: str, gpu: tuple[str, ...], **_: object) -> Plan:
        content = b"FRESH" + bytes([len(self.compiled)])
        self.compiled.append(content)
        facts = {"version": self.version, "content": content}
        if flavour == "tensorrt":
            facts |= {"device": self.device, "driver": self.driver}
        return stored(model, flavour=flavour, gpu=gpu, **facts)

    def open(self) -> None:
        """From the folder to the deserialiser, as an engine is opened."""
        with pytest.raises(HandedOverError):
            self.load()

    def load(self) -> None:
        here = Gpu(0, self.device, self.gpu, 12 << 30, integrated=False, driver=self.driver)
        library = SimpleNamespace(Runtime=lambda log: self)
        log = SimpleNamespace(take_errors=lambda: "the driver is another one")
        find_or_compile.find_or_compile_plan(
            self.model,
            flavour=self.flavour,
            gpu=here,
            options=EngineOptions("fp16", self.folder, say=self.told.append),
            load=lambda plan: LoadedPlan(plan, trt=library, log=log, cuda=None),
        )

    def deserialize_cuda_engine(self, content: bytes) -> None:
        self.deserialised.append(bytes(content))
        if not content.startswith(self.refused):
            raise HandedOverError


def stored(
    model: bytes,
    *,
    flavour: str = RTX,
    gpu: tuple[str, ...] = (HERE,),
    version: str = VERSION,
    content: bytes = b"MAX_UNREAD",
    device: str = "",
    driver: str = "",
) -> Plan:
    return Plan(
        plan=content,
        flavour=flavour,
        version=version,
        gpu=gpu,
        device=device,
        driver=driver,
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        layers=(CONVOLUTION,),
    )
