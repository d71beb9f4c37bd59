"""`edge info`: what a bundle is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.bundle import Bundle


def bundle_info(path: Path) -> dict[str, Any]:
    """A bundle's facts by name, plain values; the bundle is checked as when it is loaded.

    Raises:
        BundleError: it is missing or damaged.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    plans = (
        sorted(plan.name for plan in bundle.plans.glob("*.plan")) if bundle.plans.is_dir() else []
    )
    return {
        **manifest.model_dump(mode="json", exclude={"files", "golden", "figures", "threshold"}),
        "threshold": manifest.threshold.value,
        "threshold_facts": manifest.threshold.model_dump(mode="json", exclude={"value"}),
        "figures": dict(manifest.figures),
        "golden": {image.file: image.score for image in manifest.golden},
        "model_mib": round(manifest.files["model.onnx"].size / 2**20, 2),
        "plans": plans,
    }
