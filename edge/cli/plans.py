"""The commands about a bundle and its plans; `edge.cli.commands` adds them to `edge`."""

from __future__ import annotations

from edge import console
from edge.cli import tables
from edge.cli.options import BundleArgument, Json, takes_options
from edge.fields import Count, OptionsModel, ParseError, option
from edge.options import CompileOptions, EngineName, device_option
from engines.choose import engine_on


class InfoOptions(OptionsModel):
    """What `edge info` tells besides."""

    layers: bool = option(False, "Show what each layer of its plans runs.")
    drift: bool = option(False, "Show how far each layer is from float32 on this machine.")
    engine: EngineName = option("auto", "With --drift, the engine that runs the graph.")
    device: Count | None = device_option()


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
    options: InfoOptions,
    json: Json = False,
) -> None:
    """Show what a bundle is and how its threshold was set."""
    from edge.evaluation.drift import find_drift
    from edge.plans import bundle_info, plan_layers

    found = bundle_info(bundle)
    layers, drift = options.layers, options.drift
    if options.model_fields_set & {"engine", "device"} and not drift:
        raise ParseError("--engine and --device are for --drift; give that too, or leave them out")
    plans = plan_layers(bundle) if layers else {}
    chosen = engine_on(options.engine, options.device)
    drifted = find_drift(bundle, engine=chosen) if drift else None
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
