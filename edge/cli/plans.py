"""The commands about a bundle and its plans; `edge.cli.main` adds them to `edge`."""

from __future__ import annotations

from typing import Annotated

import typer

from edge import console
from edge.cli import tables
from edge.cli.choices import BundleArgument, Json, PlanEngineName


def compile_plans(
    bundle: BundleArgument,
    *,
    engine: Annotated[
        PlanEngineName, typer.Option(help="auto: TensorRT where it works, else TensorRT-RTX.")
    ] = PlanEngineName.auto,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="TensorRT-RTX plan for sm86, sm89 …; repeat; default portable."),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(min=1, help="Scratch memory, MiB; Jetson: half of the free.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="TensorRT: newer ones load it too.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="TensorRT: any GPU from Ampere on.")
    ] = False,
    json: Json = False,
) -> None:
    """Compile a bundle's TensorRT plans ahead of time."""
    from calibrate.progress import Stages
    from edge.plans import CompileOptions, compile_bundle

    options = CompileOptions(
        engine=engine.value,
        gpu=tuple(gpu or ()),
        workspace_mib=workspace,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
    )
    with console.stage_bars() as bars:
        plans = compile_bundle(bundle, options=options, stages=Stages(bars.show), say=console.say)
    if json:
        found = [plan.to_json() for plan in plans]
        console.print_json({"bundle": str(bundle), "plans": found})
    else:
        tables.print_compiled(str(bundle), plans)


def info(
    bundle: BundleArgument,
    layers: Annotated[
        bool, typer.Option("--layers", help="What each layer of its plans runs.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a bundle is and how its threshold was set."""
    from edge.plans import bundle_info, plan_layers

    found = bundle_info(bundle)
    plans = plan_layers(bundle) if layers else {}
    if json:
        console.print_json({**found, "plan_layers": plans} if layers else found)
    elif layers:
        tables.print_layers(plans)
    else:
        tables.print_info(str(bundle), found)
