"""What a small bundle says of itself, and what its writing may leave behind."""

from __future__ import annotations

from pathlib import Path

from engines.manifest import Manifest

BASE = {
    "name": "bottle",
    "created": "2026-11-22T18:00:00Z",
    "protoedge": "0.1.0",
    "model": "protoad",
    "precision": "fp32",
    "deployed_engine": "openvino",
    "executes": "f32",
    "size": (64, 64),
    "backbone": {"name": "small", "sha256": "0" * 64, "stages": ("relu1", "relu2")},
    "prototypes": 24,
    "method": "coreset",
    "layers": ("relu1",),
    "seed": 0,
    "score_kind": "max",
    "threshold": {"value": 0.25, "method": "cross-fitted", "false_rejects_asked": 0.001},
    "images": {"used": 20, "skipped": 1},
    "golden": ({"file": "golden/good.png", "score": 0.125, "kind": "good"},),
}


def manifest(**changes: object) -> Manifest:
    return Manifest.model_validate({**BASE, **changes})


def leftovers(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir() if found.name.startswith("."))
