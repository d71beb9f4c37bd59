"""The commands that measure: `edge evaluate`, `compare`, `bench` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import console
from edge.cli import errors, tables
from edge.cli.choices import BundleArgument, EngineOption, Json


def evaluate(
    bundle: BundleArgument,
    images: Annotated[Path, typer.Argument(help="Labelled images, MVTec's layout.")],
    *,
    engine: EngineOption = None,
    threshold: Annotated[float | None, typer.Option(help="In place of the bundle's.")] = None,
    grid: Annotated[Path | None, typer.Option(help="Picture grid, .png.")] = None,
    json: Json = False,
) -> None:
    """Measure a bundle on labelled images."""
    from calibrate.progress import Stages
    from edge.config import check_folder_of
    from edge.evaluation.evaluate import evaluate_bundle

    if grid is not None:
        check_folder_of(grid, option="--grid")

    with console.stage_bars() as bars:
        evaluation = evaluate_bundle(
            bundle,
            images,
            engine=engine.value if engine else "auto",
            threshold=threshold,
            grid=grid,
            stages=Stages(bars.show),
        )
    if json:
        console.print_json(evaluation.to_json())
    else:
        tables.print_evaluation(evaluation)


def compare(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Two or more.")],
    images: Annotated[Path, typer.Argument(help="Labelled images, MVTec's layout.")],
    *,
    engine: EngineOption = None,
    picture: Annotated[
        Path | None, typer.Option(help="The same images through each of them, .png.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Timed, of each.")] = 100,
    json: Json = False,
) -> None:
    """Measure and time several bundles, side by side."""
    from calibrate.progress import Stages
    from edge.config import check_folder_of
    from edge.evaluation.compare import compare_bundles

    if picture is not None:
        check_folder_of(picture, option="--picture")
    with console.stage_bars() as bars:
        comparison = compare_bundles(
            bundles,
            images,
            engine=engine.value if engine else "auto",
            picture=picture,
            frames=frames,
            stages=Stages(bars.show),
        )
    if json:
        console.print_json(comparison.to_json())
    else:
        tables.print_comparison(comparison)


def bench(
    bundle: BundleArgument,
    images: Annotated[
        Path | None, typer.Argument(help="As the camera takes them; default: made from the bundle.")
    ] = None,
    *,
    engine: EngineOption = None,
    frames: Annotated[int, typer.Option(min=1, help="Timed.")] = 200,
    camera: Annotated[str, typer.Option(help="WIDTHxHEIGHT of made frames, px.")] = "1280x720",
    json: Json = False,
) -> None:
    """Time the engine, and all from frame to verdict."""
    from edge.evaluation.bench import bench_bundle
    from edge.parse import size_from_text

    report = bench_bundle(
        bundle,
        images=images,
        engine=engine.value if engine else "auto",
        iterations=frames,
        camera=size_from_text(camera),
    )
    if json:
        console.print_json(report.to_json())
    else:
        tables.print_bench(str(bundle), report)


def doctor(json: Json = False) -> None:
    """Show what this machine has and what is missing."""
    from edge.doctor import examine

    checks = examine()
    healthy = all(check.status != "fail" for check in checks)
    if json:
        console.print_json({"ok": healthy, "checks": [check.to_json() for check in checks]})
    else:
        tables.print_checks(checks)
    if not healthy:
        raise typer.Exit(errors.FAILURE)
