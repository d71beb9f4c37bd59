"""Compiled plans on disk, and the checks before one of them is trusted.

A plan is native code. It is loaded only if this machine compiled it: its sidecar carries a seal
made with a key that never leaves the machine. A plan that came with somebody's bundle is compiled
again from the graph instead. The plan file itself stays bare, so that NVIDIA's own tools load it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.errors import EngineError
from engines.layers import Layer
from engines.plan import Plan
from engines.swap import replace_file

KEY_BYTES = 32
PORTABLE = "portable"


class UnusablePlanError(EngineError):
    """A plan that must not be loaded; the message is the reason why it is compiled again."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan must be for.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the library that will run it; plans don't move between versions.
        gpu: compute capabilities; empty is portable.
        onnx_sha256: of the graph that it must come from.
    """

    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str


class PlanRecord(BaseModel):
    """The sidecar of a plan: all that must fit before the plan is deserialised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str
    plan_sha256: str
    size: int
    layers: tuple[Layer, ...]
    seal: str = ""


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
        layers=plan.layers,
    )
    sealed = record.model_copy(update={"seal": _seal(record, machine_key())})
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, plan.plan)
    replace_file(path.with_suffix(".json"), (sealed.model_dump_json(indent=2) + "\n").encode())
    return path


def load_plan(folder: Path, wanted: Wanted) -> Plan:
    """A plan whose every mark fits; nothing is deserialised here.

    Raises:
        UnusablePlanError: there is none, or it must not be loaded; says why.
    """
    path = plan_path(folder, flavour=wanted.flavour, gpu=wanted.gpu)
    sidecar = path.with_suffix(".json")
    if not path.exists() or not sidecar.exists():
        target = " ".join(wanted.gpu) or PORTABLE
        raise UnusablePlanError(f"there is none for {wanted.flavour} and {target} yet")
    if path.is_symlink() or sidecar.is_symlink() or folder.is_symlink():
        raise UnusablePlanError(f"{path.name} is a symbolic link")
    try:
        record = PlanRecord.model_validate_json(sidecar.read_bytes())
        plan = path.read_bytes()
        key = machine_key()
    except ValidationError as error:
        raise UnusablePlanError(f"{sidecar.name} is damaged") from error
    except OSError as error:
        raise UnusablePlanError(f"{path.name} cannot be read: {error.strerror}") from error
    if not hmac.compare_digest(record.seal.encode(), _seal(record, key).encode()):
        raise UnusablePlanError(f"{path.name} was not compiled on this machine")
    wrong = _mismatch(record, wanted)
    if wrong:
        raise UnusablePlanError(f"{path.name} is stale: {wrong}")
    if len(plan) != record.size or hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise UnusablePlanError(f"{path.name} is damaged")
    return Plan(
        plan=plan,
        flavour=record.flavour,
        version=record.version,
        gpu=record.gpu,
        onnx_sha256=record.onnx_sha256,
        layers=record.layers,
    )


def plan_path(folder: Path, *, flavour: str, gpu: tuple[str, ...]) -> Path:
    """Where a plan lies, such as ``engines/tensorrt-rtx-sm89.plan``."""
    return folder / f"{flavour}-{'-'.join(gpu) or PORTABLE}.plan"


def machine_key() -> bytes:
    """This machine's secret, made at first use; readable by its user alone.

    Raises:
        OSError: the state folder cannot be written.
    """
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(state) / "protoedge" / "plan.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"plan.key.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was quicker: its key counts
        finally:
            draft.unlink()
    return path.read_bytes()


def _seal(record: PlanRecord, key: bytes) -> str:
    content = json.dumps(record.model_dump(mode="json", exclude={"seal"}), sort_keys=True)
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


def _mismatch(record: PlanRecord, wanted: Wanted) -> str:
    if record.flavour != wanted.flavour:
        return f"it is for {record.flavour}"
    if record.version != wanted.version:
        return f"it was compiled by version {record.version}, this is {wanted.version}"
    if record.gpu != wanted.gpu:
        return f"it is for {' '.join(record.gpu) or PORTABLE}"
    if record.onnx_sha256 != wanted.onnx_sha256:
        return "the graph has changed"
    return ""
