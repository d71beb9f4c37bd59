"""Plans as tables for a person: what was compiled, and what each layer runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge import console
from edge.plans import CompiledPlan
from engines.plans.cache import trusted_path


def print_compiled(bundle: str, plans: Sequence[CompiledPlan]) -> None:
    """What was compiled, and how other machines come to load it."""
    head = ("plan", "executes", "kernels", "MiB", "s")
    rows = [
        (
            made.path.name,
            facts["executes"],
            facts["kernels"],
            f"{facts['size'] / (1 << 20):.1f}",
            f"{made.seconds:.1f}",
        )
        for made, facts in ((made, made.to_json()) for made in plans)
    ]
    console.print_columns(bundle, head, rows)
    lines = [(made.mark, f"# {made.path.name}") for made in plans]
    console.print_columns(f"Another machine loads them once {trusted_path()} has there", (), lines)


def print_layers(plans: Mapping[str, Mapping[str, Any]]) -> None:
    """Each plan's layers: the graph's nodes, types in and out, kernel."""
    if not plans:
        console.say("no plan is kept in this bundle; make one with `edge compile`")
    for name, facts in plans.items():
        if "problem" in facts:
            console.print_table(name, [("problem", facts["problem"])])
            continue
        target = " ".join(facts["gpu"]) or "Ampere and newer"
        title = (
            f"{name}: {facts['kernels']} kernels, {facts['executes']}, {facts['engine']} "
            f"{facts['version']}, {target}, {facts['typing']}ly typed"
        )
        rows = [
            (
                " ".join(layer["nodes"]) or layer["name"],
                layer["kind"],
                " ".join(layer["inputs"]),
                " ".join(layer["outputs"]),
                layer["tactic"],
            )
            for layer in facts["layers"]
            if layer["kind"] != "sync"
        ]
        console.print_columns(title, ("layer", "kind", "in", "out", "kernel"), rows)
        for note in facts["notes"]:
            console.say(f"{name}: {note}")
