"""Compiled plans on disk, and the checks before one of them is trusted.

A plan is native code. It is loaded only if this machine compiled it, or if whoever looks after
this machine has listed it: its sidecar carries a seal made with a key that never leaves the machine
it was compiled on, and a mark that can be written into this machine's list. Any other plan that
came with a bundle is compiled again from the graph. The plan file itself stays bare, so that
NVIDIA's own tools load it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.atomic_files import replace_file
from engines.errors import EngineError
from engines.plans.builder import Compatible
from engines.plans.compile import Plan, Typing
from engines.plans.flavours import version_from_text
from engines.plans.layers import Layer
from engines.plans.machine_key import machine_key

PORTABLE = "portable"
LARGEST_SIDECAR = 16 << 20
LARGEST_PLAN = 4 << 30


class UnusablePlanError(EngineError):
    """A plan that must not be loaded; the message is the reason why it is compiled again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan must be for.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the library that will run it; plans move to newer ones only if they were
            compiled for that.
        gpu: compute capability of the GPU that will run it; empty is a portable plan, whatever
            runs it.
        onnx_sha256: of the graph that it must come from.
    """

    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str


class PlanRecord(BaseModel):
    """The sidecar of a plan: all that must fit before the plan is deserialised.

    Attributes:
        seal: over all the rest, with the key of the machine that compiled the plan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str
    plan_sha256: str
    size: int
    typing: Typing
    compatible: tuple[Compatible, ...]
    notes: tuple[str, ...]
    layers: tuple[Layer, ...]
    seal: str = ""

    @property
    def mark(self) -> str:
        """SHA-256 of everything but the seal: a machine may list it to trust the plan."""
        return hashlib.sha256(self._content()).hexdigest()

    def sealed_with(self, key: bytes) -> str:
        """The seal that a key gives."""
        return hmac.new(key, self._content(), hashlib.sha256).hexdigest()

    def _content(self) -> bytes:
        content = self.model_dump(mode="json", exclude={"seal"})
        return json.dumps(content, sort_keys=True).encode()


def store_plan(folder: Path, plan: Plan) -> Path:
    """Write a plan and its sidecar; a kill leaves the old pair, or one that `load_plan` refuses.

    Returns:
        The plan's path.

    Raises:
        OSError: the folder or the key cannot be written.
    """
    path = plan_path(folder, flavour=plan.flavour, gpu=plan.gpu)
    record = PlanRecord(
        flavour=plan.flavour,
        version=plan.version,
        gpu=plan.gpu,
        onnx_sha256=plan.onnx_sha256,
        plan_sha256=hashlib.sha256(plan.plan).hexdigest(),
        size=len(plan.plan),
        typing=plan.typing,
        compatible=plan.compatible,
        notes=plan.notes,
        layers=plan.layers,
    )
    sealed = record.model_copy(update={"seal": record.sealed_with(machine_key())})
    if folder.is_symlink():
        raise OSError(0, "it is a symbolic link", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, plan.plan)
    replace_file(path.with_suffix(".json"), (sealed.model_dump_json(indent=1) + "\n").encode())
    return path


def load_plan(folder: Path, wanted: Wanted) -> Plan:
    """A plan whose every mark fits; nothing is deserialised here.

    Raises:
        UnusablePlanError: there is none, or it must not be loaded; says why.
    """
    path = plan_path(folder, flavour=wanted.flavour, gpu=wanted.gpu)
    sidecar = path.with_suffix(".json")
    if folder.is_symlink():
        raise UnusablePlanError(f"{folder.name} is a symbolic link")
    if not os.path.lexists(path) or not os.path.lexists(sidecar):
        where = " ".join(wanted.gpu) or PORTABLE
        raise UnusablePlanError(f"there is none for {wanted.flavour} and {where} yet")
    record = read_record(path)
    if not _is_trusted(record):
        raise UnusablePlanError(
            f"{path.name} was not compiled on this machine, nor does {trusted_path()} list it"
        )
    wrong = _mismatch(record, wanted)
    if wrong:
        raise UnusablePlanError(f"{path.name} is stale: {wrong}")
    plan = _content(path, largest=min(record.size, LARGEST_PLAN))
    if len(plan) != record.size or hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise UnusablePlanError(f"{path.name} is damaged")
    return Plan(
        plan=plan,
        flavour=record.flavour,
        version=record.version,
        gpu=record.gpu,
        onnx_sha256=record.onnx_sha256,
        layers=record.layers,
        typing=record.typing,
        compatible=record.compatible,
        notes=record.notes,
    )


def read_record(plan: Path) -> PlanRecord:
    """What the sidecar beside a plan says, whether it is to be trusted or not.

    Raises:
        UnusablePlanError: there is none, or it is damaged.
    """
    sidecar = plan.with_suffix(".json")
    try:
        return PlanRecord.model_validate_json(_content(sidecar, largest=LARGEST_SIDECAR))
    except ValidationError as error:
        raise UnusablePlanError(f"{sidecar.name} is damaged") from error


def plan_path(folder: Path, *, flavour: str, gpu: tuple[str, ...]) -> Path:
    """Where a plan lies, such as ``engines/tensorrt-rtx-sm89.plan``."""
    return folder / f"{flavour}-{'-'.join(gpu) or PORTABLE}.plan"


def trusted_path() -> Path:
    """The list of plans from other machines that this one loads: a mark a line, ``#`` comments."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "protoedge" / "trusted_plans"


def _is_trusted(record: PlanRecord) -> bool:
    try:
        key = machine_key()
    except OSError as error:
        raise UnusablePlanError(
            f"this machine's key cannot be read: {error.strerror}: {error.filename}"
        ) from error
    if hmac.compare_digest(record.seal.encode(), record.sealed_with(key).encode()):
        return True
    path = trusted_path()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UnusablePlanError(f"{path} cannot be read: {error.strerror}") from error
    return record.mark in {line.partition("#")[0].strip().lower() for line in lines}


def _content(path: Path, *, largest: int) -> bytes:
    """A plain file's bytes; neither a link is followed nor a pipe waited for.

    Raises:
        UnusablePlanError: it is something else, too large, or cannot be read.
    """
    if path.is_symlink():
        raise UnusablePlanError(f"{path.name} is a symbolic link")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnusablePlanError(f"{path.name} is not a plain file")
            if found.st_size > largest:
                raise UnusablePlanError(f"{path.name} is damaged: it is larger than it may be")
            return file.read()
    except OSError as error:
        raise UnusablePlanError(f"{path.name} cannot be read: {error.strerror}") from error


def _mismatch(record: PlanRecord, wanted: Wanted) -> str:
    if record.flavour != wanted.flavour:
        return f"it is for {record.flavour}"
    if not _version_fits(record, wanted.version):
        return f"it was compiled by version {record.version}, this is {wanted.version}"
    if record.gpu != wanted.gpu:
        return f"it is for {' '.join(record.gpu) or PORTABLE}"
    if record.onnx_sha256 != wanted.onnx_sha256:
        return "the graph has changed"
    return ""


def _version_fits(record: PlanRecord, version: str) -> bool:
    if record.version == version:
        return True
    made, here = version_from_text(record.version), version_from_text(version)
    return "version" in record.compatible and made[:1] == here[:1] != () and made <= here
