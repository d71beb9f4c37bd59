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
from engines.plans.flavours import version_from_text
from engines.plans.plan import CompileSettings, Plan, PlanFacts
from engines.sealed_files import SealedRecord, store_sealed, user_folder
from process.plain_files import MAX_TEXT_BYTES, read_plain_file

PORTABLE = "portable"
MAX_PLAN_BYTES = 4 << 30


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
        batch: images that it must take at once.
    """

    flavour: str
    version: str
    gpu: tuple[str, ...]
    onnx_sha256: str
    device: str = ""
    driver: str = ""
    batch: int = 1


class PlanRecord(PlanFacts, SealedRecord):
    """The sidecar of a plan: all that must fit before the plan is deserialised."""

    plan_sha256: str
    size: int


def store_plan(folder: Path, plan: Plan) -> Path:
    """Write a plan and its sidecar; a kill leaves the old pair, or one that `load_plan` refuses.

    Returns:
        The plan's path.

    Raises:
        OSError: the folder or the key cannot be written.
    """
    path = plan_path(folder, flavour=plan.flavour, gpu=plan.gpu)
    facts = plan.model_dump(exclude={"plan"})
    digest = hashlib.sha256(plan.plan).hexdigest()
    store_sealed(path, plan.plan, PlanRecord(**facts, plan_sha256=digest, size=len(plan.plan)))
    return path


def load_plan(folder: Path, key: PlanKey) -> Plan:
    """A plan that fits in every respect; nothing is deserialised here.

    Raises:
        UnusablePlanError: there is none, or it must not be loaded; says why.
    """
    path = plan_path(folder, flavour=key.flavour, gpu=key.gpu)
    if folder.is_symlink():
        raise UnusablePlanError(f"{folder.name} is a symbolic link")
    if not os.path.lexists(path) or not os.path.lexists(path.with_suffix(".json")):
        where = " ".join(key.gpu) or PORTABLE
        raise UnusablePlanError(f"there is none for {key.flavour} and {where} yet")
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
    path = plan_path(folder, flavour=key.flavour, gpu=key.gpu)
    try:
        record = read_record(path)
        _check_trust(path, record)
    except UnusablePlanError:
        return CompileSettings()
    return record.settings


def plan_path(folder: Path, *, flavour: str, gpu: tuple[str, ...]) -> Path:
    """Where a plan lies, such as ``engines/tensorrt-rtx-sm89.plan``."""
    return folder / f"{flavour}-{'-'.join(gpu) or PORTABLE}.plan"


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
    if record.batch != key.batch:
        return f"it is for a batch of {record.batch}, and {key.batch} is asked for"
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
