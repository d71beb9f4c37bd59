"""`edge info`: what a bundle is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.plans.cache import UnusablePlanError, read_record
from engines.plans.layers import executes, kernels

_LEFT_OUT: dict[str, Any] = {
    **dict.fromkeys(("files", "golden", "figures", "threshold"), True),
    # Grids of numbers, which tell a reader nothing.
    "health": {"occluded": {"low", "high", "typical", "detail"}},
}


def bundle_info(path: Path) -> dict[str, Any]:
    """A bundle's facts by name, plain values; the bundle is checked as when it is loaded.

    Raises:
        BundleError: it is missing or damaged.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    plans = [plan.name for plan in _plans(bundle)]
    return {
        **manifest.model_dump(mode="json", exclude=_LEFT_OUT),
        "threshold": manifest.threshold.value,
        "threshold_facts": manifest.threshold.model_dump(mode="json", exclude={"value"}),
        "figures": dict(manifest.figures),
        "golden": {image.file: image.score for image in manifest.golden},
        "model_mib": round(manifest.files["model.onnx"].size / 2**20, 2),
        "plans": plans,
    }


def plan_layers(path: Path) -> dict[str, dict[str, Any]]:
    """What each plan of a bundle executes, layer by layer, as the sidecars say.

    Nothing is loaded, so nothing is decided: whether a plan is trusted is seen when it is run.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    return {plan.name: _facts(plan) for plan in _plans(Bundle.open(path))}


def _plans(bundle: Bundle) -> list[Path]:
    return sorted(bundle.plans.glob("*.plan")) if bundle.plans.is_dir() else []


def _facts(plan: Path) -> dict[str, Any]:
    try:
        record = read_record(plan)
    except UnusablePlanError as error:
        return {"problem": str(error)}
    facts = record.model_dump(mode="json", exclude={"seal", "flavour"})
    return {
        "engine": record.flavour,
        "executes": executes(record.layers),
        "kernels": kernels(record.layers),
        "mark": record.mark,
        **facts,
    }
