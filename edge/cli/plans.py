"""The commands about a bundle and its plans; `edge.cli.commands` adds them to `edge`."""

from __future__ import annotations

from typing import Annotated

import typer

from edge import console
from edge.cli import tables
from edge.cli.options import BundleArgument, Json, takes_options
from edge.options import CompileOptions


@takes_options
def compile_plans(bundle: BundleArgument, options: CompileOptions, json: Json = False) -> None:
    """Compile a plan for each GPU, and store it in the bundle."""
    from calibrate.progress import Stages
    from edge.plans import compile_bundle

    with console.stage_bars() as bars:
        plans = compile_bundle(bundle, options=options, stages=Stages(bars.show), say=console.say)
    if json:
        found = [plan.to_json() for plan in plans]
        console.print_json({"bundle": str(bundle), "plans": found})
    else:
        tables.print_compiled(str(bundle), plans)


@takes_options
def info(
    bundle: BundleArgument,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show what each layer of its plans runs.")
    ] = False,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Show how far each layer is from float32 on this machine."),
    ] = False,
    json: Json = False,
) -> None:
    """Show what a bundle is and how its threshold was set."""
    from edge.evaluation.drift import find_drift
    from edge.plans import bundle_info, plan_layers

    found = bundle_info(bundle)
    plans = plan_layers(bundle) if layers else {}
    drifted = find_drift(bundle) if drift else None
    if json:
        told = {"plan_layers": plans} if layers else {}
        console.print_json({**found, **told, **({"drift": drifted.to_json()} if drifted else {})})
        return
    if layers:
        tables.print_layers(plans)
    if drifted:
        tables.print_drift(drifted)
    if not (layers or drift):
        tables.print_info(str(bundle), found)
