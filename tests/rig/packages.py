"""Which modules there are, and which need torch."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge", "calibrate", "engines", "cameras", "process")
OF_TORCH = {  # PRN's network and what trains and exports it
    f"calibrate.prn.{name}"
    for name in (
        *("checkpoint", "graph.export", "graph.folding", "graph.nodes", "graph.torch_backbone"),
        *("learn", "network.attention", "network.decoder", "network.fusion", "network.losses"),
        *("network.matching", "network.network", "prototypes", "training"),
    )
}


def modules() -> list[str]:
    """Every module of the packages, by its files."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found
