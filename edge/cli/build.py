"""The commands that make a bundle: `edge demo`, `init`, `build` and `backbone`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import console
from edge.cli import tables
from edge.cli.options import Json, takes_options
from edge.config import BUILDS, CONFIG, ConfigError, check_output, read_config, write_new
from edge.fields import overlay
from edge.options import BuildOptions

backbone = typer.Typer(no_args_is_help=True)


@takes_options
def demo(
    output: Annotated[Path, typer.Option(help="Folder to write everything to.")] = Path(
        "build/demo"
    ),
    json: Json = False,
) -> None:
    """Draw a production line, learn and inspect it; needs no data."""
    from edge.demo.demo import run_demo

    with console.stage_bars() as bars:
        outcome = run_demo(output, show=bars.show)
    if json:
        console.print_json(outcome.to_json())
    else:
        tables.print_demo(outcome)


@takes_options
def init(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the product, for its bundle.")
    ] = "part",
    output: Annotated[Path, typer.Option(help="File to write.")] = CONFIG,
) -> None:
    """Write an example of `edge.toml`."""
    from edge.cli.edge_toml import example_text

    write_new(output, example_text(name))
    console.say(f"{output}: written; set build.images and stream.source, then run `edge build`")


@takes_options
def build(given: BuildOptions, json: Json = False) -> None:
    """Build with the options that were given, over those of `edge.toml`."""
    from calibrate.progress import Stages
    from edge.building.build import build as run_build

    options = overlay(BuildOptions, read_config().build, given)
    if not options.images:
        raise ConfigError(
            "no images: name a folder, or set build.images in edge.toml (`edge init` writes one)"
        )
    output = options.output or BUILDS / f"{name_of_images(options.images[0])}.edge"
    check_output(output)
    with console.stage_bars() as bars:
        stages = Stages(bars.show, bars.tell)
        built = run_build(options.images, output, options=options, stages=stages, say=console.say)
    if json:
        console.print_json(built.to_json())
    else:
        tables.print_built(built)


def name_of_images(images: Path) -> str:
    """What a folder of images, or a video, gives a bundle as its name."""
    whole = images.resolve()
    return whole.stem if whole.is_file() else whole.name


@backbone.command("export")
@takes_options
def backbone_export(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Network: resnet18, wide_resnet50_2 or mobilenet_v2."),
    ],
    output: Annotated[Path, typer.Option(help="ONNX file to write.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="File of weights under torchvision's names, .safetensors or .pth; default "
            "downloads them."
        ),
    ] = None,
) -> None:
    """Write a backbone's ONNX file from weights."""
    from calibrate.backbones.export import export_backbone

    path = export_backbone(name, weights=weights, output=output)
    console.say(f"{path}: written; use it with `edge build IMAGES --backbone {path}`")
