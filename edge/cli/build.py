"""The commands that make a bundle: `edge demo`, `init`, `build` and `backbone`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge import console
from edge.cli import tables
from edge.cli.choices import (
    EngineOption,
    Json,
    MethodName,
    ModelName,
    PrecisionName,
    PrnSizeName,
    ScoreName,
)

if TYPE_CHECKING:
    from edge.building.build import Options

backbone = typer.Typer(no_args_is_help=True)

Images = Annotated[Path | None, typer.Argument(help="Folder of good images, or MVTec's layout.")]


def demo(
    output: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("build/demo"),
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


def init(
    name: Annotated[str, typer.Argument(help="Of the product.")] = "part",
    output: Annotated[Path, typer.Option()] = Path("edge.toml"),
) -> None:
    """Write a commented edge.toml."""
    from edge.config import write_config

    write_config(output, name=name)
    console.say(f"{output}: written; set build.images and stream.source, then run `edge build`")


def build(
    images: Images = None,
    model: Annotated[
        ModelName | None, typer.Option(help="Default protoad; prn is trained, needs torch.")
    ] = None,
    precision: Annotated[PrecisionName | None, typer.Option(help="Default fp16.")] = None,
    backbone: Annotated[str | None, typer.Option(help="bundled (default) or FILE.onnx.")] = None,
    layers: Annotated[str | None, typer.Option(help="Stages, such as layer2,layer3.")] = None,
    size: Annotated[str | None, typer.Option(help="256 (default) or WIDTHxHEIGHT, px.")] = None,
    roi: Annotated[str | None, typer.Option(help="x,y,width,height inspected, px.")] = None,
    prototypes: Annotated[
        int | None,
        typer.Option(min=1, max=65536, help="Default 4096; prn: a tenth of the images."),
    ] = None,
    method: Annotated[
        MethodName | None, typer.Option(help="How they are chosen; default coreset.")
    ] = None,
    score: Annotated[ScoreName | None, typer.Option(help="Map whose maximum counts.")] = None,
    false_rejects: Annotated[
        float | None,
        typer.Option(help="Rate of good parts that may be rejected; default 0.001."),
    ] = None,
    min_area: Annotated[
        int | None, typer.Option(min=0, help="Smallest region that rejects, px of the picture.")
    ] = None,
    engine: EngineOption = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="TensorRT-RTX plan for sm86, sm89 …; repeat; default portable."),
    ] = None,
    max_flips: Annotated[int | None, typer.Option(min=0, help="Changed verdicts.")] = None,
    max_score_error: Annotated[float | None, typer.Option(help="See docs/precision.md.")] = None,
    memory: Annotated[int | None, typer.Option(min=16, help="MiB; default 1024.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of every draw.")] = None,
    prn_size: Annotated[
        PrnSizeName | None, typer.Option(help="prn: default compact; paper wants a GPU.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="prn: default 3000.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="prn: in place of steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="prn: images a step; default 8.")] = None,
    defects: Annotated[
        Path | None, typer.Option(help="prn: folder of real defects with masks to learn from.")
    ] = None,
    most_defects: Annotated[
        int | None, typer.Option(min=1, help="prn: so many of them, evenly; default all.")
    ] = None,
    textures: Annotated[
        Path | None, typer.Option(help="prn: folder of textures; default: drawn ones.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The bundle, NAME.edge.")] = None,
    json: Json = False,
) -> None:
    """Learn an inspector from good images; write its bundle."""
    _build(dict(locals()))  # every option by its name, which is the name in edge.toml


def _build(given: dict[str, Any]) -> None:
    """Build with the options that were given; those of edge.toml stand in for the others."""
    from calibrate.progress import Stages
    from edge.building.build import build as run_build
    from edge.config import ConfigError, check_output, read_config
    from edge.parse import checked_rate, layers_from_text

    images, output, json = (given.pop(name) for name in ("images", "output", "json"))
    config = read_config().build
    folder = images or config.images
    if folder is None:
        raise ConfigError(
            "no images: name a folder, or set build.images in edge.toml (`edge init` writes one)"
        )
    if given["layers"] is not None:
        given["layers"] = layers_from_text(given["layers"])
    if given["false_rejects"] is not None:
        given["false_rejects"] = checked_rate(given["false_rejects"])
    given["gpu"] = tuple(given["gpu"]) if given["gpu"] else None
    options = _options(given, config.model_dump())
    target = output or config.output or Path("build") / f"{folder.resolve().name}.edge"
    check_output(target)
    with console.stage_bars() as bars:
        built = run_build(
            folder, target, options=options, stages=Stages(bars.show, bars.tell), say=console.say
        )
    if json:
        console.print_json(built.to_json())
    else:
        tables.print_built(built)


def _options(given: dict[str, Any], config: dict[str, Any]) -> Options:
    """The command line over `edge.toml` over the defaults."""
    from edge.building.build import Options
    from edge.parse import roi_from_text, size_from_text

    words = {name: value for name, value in config.items() if value is not None}
    words |= {name: value for name, value in given.items() if value is not None}
    words = {k: v.value if isinstance(v, Enum) else v for k, v in words.items()}
    if "size" in words:
        words["size"] = size_from_text(words["size"])
    if "roi" in words:
        words["roi"] = roi_from_text(words["roi"])
    if "memory" in words:
        words["memory_mib"] = words.pop("memory")
    for name in ("images", "output"):
        words.pop(name, None)
    return Options(**words)


@backbone.command("export")
def backbone_export(
    name: Annotated[str, typer.Argument(help="resnet18, wide_resnet50_2 or mobilenet_v2.")],
    output: Annotated[Path, typer.Option(help="FILE.onnx")],
    weights: Annotated[
        Path | None,
        typer.Option(help=".safetensors or .pth, torchvision's names; default: download."),
    ] = None,
) -> None:
    """Write a backbone's ONNX file from weights."""
    from calibrate.backbones.export import export_backbone

    path = export_backbone(name, weights=weights, output=output)
    console.say(f"{path}: written; use it with `edge build IMAGES --backbone {path}`")
