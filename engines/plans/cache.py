"""Compiled plans on disk, and the checks before one of them is trusted.

A plan is native code. It is loaded only if this machine compiled it, or if whoever looks after
this machine has listed its mark. Any other plan that came with a bundle is compiled again from the
graph. The plan file itself stays bare, so that NVIDIA's own tools load it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from engines import sealed_files
from engines.errors import EngineError
from engines.plans.flavours import TENSORRT, version_from_text
from engines.plans.plan import CompileSettings, Plan, PlanFacts
from engines.sealed_files import SealedRecord, seal, store_sealed, user_folder
from process.plain_files import MAX_TEXT_BYTES, read_plain_file

PORTABLE = "portable"
MAX_PLAN_BYTES = 4 << 30
MAX_OTHERS = 8
"""Plans of one kind beside the plain one, of other machines and GPUs; the oldest goes then. Each
start of a container without a home that stays is another machine."""


class UnusablePlanError(EngineError):
    """A plan that must not be loaded; the message is the reason why it is compiled again."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """What a plan must be for.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the library that will run it; plans move to newer ones only if they were
            compiled for that.
        gpu: compute capability of the GPU that will run it; empty is a portable plan, whatever
            runs it.
        onnx_sha256: of the graph that it must come from.
        device: name of the GPU that will run it.
        driver: CUDA version of its driver.
        images: that it must take at once, or more.
    """

    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str
    device: str = ""
    driver: str = ""
    images: int = 1


class PlanRecord(PlanFacts, SealedRecord):
    """The sidecar of a plan: all that must fit before the plan is deserialised."""

    plan_sha256: str
    size: int


def store_plan(folder: Path, plan: Plan) -> Path:
    """Write a plan and its sidecar; a kill leaves the old pair, or one that `load_plan` refuses.

    A plan of the same graph that another machine compiled, or another GPU of this one, stays beside
    it: in a bundle that goes to and fro each would compile anew for ever.

    Returns:
        The plan's path.

    Raises:
        OSError: the folder or the key cannot be written.
    """
    path = _place_for(folder, plan)
    facts = plan.model_dump(exclude={"plan"})
    digest = hashlib.sha256(plan.plan).hexdigest()
    store_sealed(path, plan.plan, PlanRecord(**facts, plan_sha256=digest, size=len(plan.plan)))
    return path


def load_plan(folder: Path, key: PlanKey) -> Plan:
    """A plan that fits in every respect; nothing is deserialised here.

    Raises:
        UnusablePlanError: there is none, or it must not be loaded; says why.
    """
    if folder.is_symlink():
        raise UnusablePlanError(f"{folder.name} is a symbolic link")
    first: UnusablePlanError | None = None
    for path in _places_of(folder, key):
        try:
            return _load(path, key)
        except UnusablePlanError as error:
            first = first or error
    where = " ".join(key.gpu) or PORTABLE
    raise first or UnusablePlanError(f"there is none for {key.flavour} and {where} yet")


def _load(path: Path, key: PlanKey) -> Plan:
    record = read_record(path)
    _check_trust(path, record)
    reason = _stale_reason(record, key)
    if reason:
        raise UnusablePlanError(f"{path.name} is stale: {reason}")
    try:
        most = min(record.size, MAX_PLAN_BYTES)
        plan = read_plain_file(path, max_bytes=most, follow_links=False)
    except OSError as error:
        raise _unusable(path, error) from error
    if len(plan) != record.size or hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise UnusablePlanError(f"{path.name} is damaged")
    return Plan(plan=plan, **record.model_dump(exclude={"seal", "plan_sha256", "size"}))


def read_record(plan: Path) -> PlanRecord:
    """What the sidecar beside a plan says, whether it is to be trusted or not.

    Raises:
        UnusablePlanError: there is none, or it is damaged.
    """
    sidecar = plan.with_suffix(".json")
    try:
        return sealed_files.read_record(plan, PlanRecord)
    except OSError as error:
        raise _unusable(sidecar, error) from error
    except ValidationError as error:
        raise UnusablePlanError(f"{sidecar.name} is damaged") from error


def kept_settings(folder: Path, key: PlanKey) -> CompileSettings:
    """With which the plan was compiled that lies where a key's belongs, however stale it is.

    The defaults, where there is none or nobody here has a reason to believe its sidecar.
    """
    for path in _places_of(folder, key):
        try:
            record = read_record(path)
            _check_trust(path, record)
        except UnusablePlanError:
            continue
        return record.settings
    return CompileSettings()


def plan_path(folder: Path, *, flavour: str, gpu: tuple[str, ...]) -> Path:
    """Where a plan lies, such as ``engines/tensorrt-rtx-sm89.plan``."""
    return folder / f"{flavour}-{'-'.join(gpu) or PORTABLE}.plan"


def _place_for(folder: Path, plan: Plan) -> Path:
    """The plain name, or a name of its own where that one is somebody else's of the same graph."""
    path = plan_path(folder, flavour=plan.flavour, gpu=plan.gpu)
    try:
        there = read_record(path)
    except UnusablePlanError:
        return path
    same = there.is_ours and there.device == plan.device
    if same or there.onnx_sha256 != plan.onnx_sha256:
        return path
    own = _own_name(path, plan.device)
    others = [each for each in _others(path) if each != own]
    for spare in sorted(others, key=_age)[: max(0, len(others) + 1 - MAX_OTHERS)]:
        spare.with_suffix(".json").unlink(missing_ok=True)
        spare.unlink(missing_ok=True)
    return own


def _places_of(folder: Path, key: PlanKey) -> list[Path]:
    """Where plans for a key lie: this machine's own for its GPU first, then the plain name."""
    path = plan_path(folder, flavour=key.flavour, gpu=key.gpu)
    timed = key.flavour == TENSORRT and key.gpu  # else the plan is for each of its kind
    try:
        own = [_own_name(path, key.device if timed else "")]
    except OSError:
        own = []  # without a key nothing is ours
    return [
        each
        for each in dict.fromkeys([*own, path, *_others(path)[: 2 * MAX_OTHERS]])
        if os.path.lexists(each) and os.path.lexists(each.with_suffix(".json"))
    ]


def _others(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}.*.plan"))


def _age(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # somebody else has just removed it
        return 0.0


def _own_name(path: Path, device: str) -> Path:
    """A name that no other machine gives, nor this one for another GPU: ``…-sm89.0f1e2d3c.plan``.

    Raises:
        OSError: the machine's key cannot be read or made.
    """
    name = seal(b"the name of a plan\0" + device.encode())[:8]
    return path.with_suffix(f".{name}.plan")


def trusted_path() -> Path:
    """The list of plans from other machines that this one loads: a mark a line, ``#`` comments."""
    return user_folder("config") / "trusted_plans"


def _check_trust(path: Path, record: PlanRecord) -> None:
    """Refuse what neither this machine made nor its list allows."""
    try:
        trusted = record.is_ours or record.mark in _trusted_marks()
    except OSError as error:
        raise UnusablePlanError(
            f"{path.name} may not be from this machine: {error.strerror}: {error.filename}"
        ) from error
    if not trusted:
        raise UnusablePlanError(
            f"{path.name} was not compiled on this machine, nor does {trusted_path()} list it"
        )


def _trusted_marks() -> set[str]:
    try:
        text = read_plain_file(trusted_path(), max_bytes=MAX_TEXT_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return set()
    return {line.partition("#")[0].strip().lower() for line in text.splitlines()}


def _stale_reason(record: PlanRecord, key: PlanKey) -> str:
    if record.flavour != key.flavour:
        return f"it is for {record.flavour}"
    if not _version_fits(record, key.version):
        return f"it was compiled by version {record.version}, this is {key.version}"
    if record.gpu != key.gpu:
        return f"it is for {' '.join(record.gpu) or PORTABLE}"
    if record.onnx_sha256 != key.onnx_sha256:
        return "the graph has changed"
    if record.images < key.images:
        return f"it is for a batch of {record.images}, and {key.images} is asked for"
    return _tuned_elsewhere_reason(record, key)


def _tuned_elsewhere_reason(record: PlanRecord, key: PlanKey) -> str:
    """Two GPUs of one compute capability differ in what is quick, and in their memory."""
    if record.device not in ("", key.device):
        return f"it was compiled on {record.device}, this is {key.device}"
    if record.driver not in ("", key.driver):
        return f"it was compiled under a driver for CUDA {record.driver}, this is {key.driver}"
    return ""


def _version_fits(record: PlanRecord, version: str) -> bool:
    if record.version == version:
        return True
    made, here = version_from_text(record.version), version_from_text(version)
    return "version" in record.compatible and made[:1] == here[:1] != () and made <= here


def _unusable(path: Path, error: OSError) -> UnusablePlanError:
    return UnusablePlanError(f"{path.name} cannot be read: {error.strerror}")
