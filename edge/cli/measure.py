"""The commands that measure: `edge evaluate`, `compare` and `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import console
from edge.cli import tables
from edge.cli.evaluation_table import print_evaluation, settings_of_config
from edge.cli.options import BundleArgument, Json, takes_options
from edge.config import check_folder_of, read_config
from edge.fields import Count, OptionsModel, Positive, SizeText, option, overlay
from edge.options import ENGINE, EngineName, EvaluateOptions, device_option
from engines.choose import engine_on

LabelledArgument = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="Folder of images, labelled or all good.")
]


class CompareOptions(OptionsModel):
    """How `edge compare` measures."""

    engine: EngineName = option("auto", ENGINE)
    device: Count | None = device_option()
    picture: Path | None = option(None, "PNG file that shows the same images through each bundle.")
    frames: Positive = option(100, "Number of frames to time with each bundle.")


class BenchOptions(OptionsModel):
    """How `edge bench` times."""

    engine: EngineName = option("auto", ENGINE)
    device: Count | None = device_option()
    frames: Positive = option(200, "Number of frames to time.")
    camera: SizeText = option(
        (720, 1280),
        "Size in px of frames that are made from the bundle: WIDTHxHEIGHT.",
        example="1280x720",
    )
    layers: bool = option(False, "Also time each layer of the graph, and show the slowest.")


@takes_options
def evaluate(
    bundle: BundleArgument, images: LabelledArgument, given: EvaluateOptions, json: Json = False
) -> None:
    """Measure a bundle on images that it did not learn from."""
    from calibrate.progress import Stages
    from edge.evaluation.evaluate import evaluate_bundle

    options = overlay(EvaluateOptions, read_config().stream, given)
    if options.grid is not None:
        check_folder_of(options.grid, option="--grid")
    if options.report is not None:
        check_folder_of(options.report, option="--report")
    with console.stage_bars() as bars:
        evaluation = evaluate_bundle(
            bundle,
            images,
            options=options,
            stages=Stages(bars.show),
            say=console.say,
        )
    for line in settings_of_config(options, given):
        console.say(line)
    for line in evaluation.warnings:
        console.say(f"warning: {line}")
    if evaluation.alarm:
        console.say(f"ALARM: {evaluation.alarm}")
    if json:
        console.print_json(evaluation.to_json())
    else:
        print_evaluation(evaluation)


@takes_options
def compare(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE", help="Folders of two or more bundles.")
    ],
    images: LabelledArgument,
    options: CompareOptions,
    json: Json = False,
) -> None:
    """Measure and time bundles, one after the other."""
    from calibrate.progress import Stages
    from edge.evaluation.compare import compare_bundles

    if options.picture is not None:
        check_folder_of(options.picture, option="--picture")
    with console.stage_bars() as bars:
        comparison = compare_bundles(
            bundles,
            images,
            engine=engine_on(options.engine, options.device),
            picture=options.picture,
            frames=options.frames,
            stages=Stages(bars.show),
        )
    if json:
        console.print_json(comparison.to_json())
    else:
        tables.print_comparison(comparison)


@takes_options
def bench(
    bundle: BundleArgument,
    options: BenchOptions,
    images: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGES",
            help="Folder of images as the camera takes them; default frames made from the bundle.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Time a bundle on this machine."""
    from edge.evaluation.bench import bench_bundle

    report = bench_bundle(
        bundle,
        images=images,
        engine=engine_on(options.engine, options.device),
        iterations=options.frames,
        camera=options.camera,
        layers=options.layers,
    )
    if json:
        console.print_json(report.to_json())
    else:
        tables.print_bench(str(bundle), report)
