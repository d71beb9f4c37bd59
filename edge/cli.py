"""The command `edge`. Only what parses and prints; everything heavy is imported when it is used."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge import console

if TYPE_CHECKING:
    from edge.build import Built, Options

app = typer.Typer(
    name="edge",
    help="Pictures of good parts become an inspector for Jetson, NVIDIA desktops and plain CPUs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
backbone_app = typer.Typer(help="Backbones as ONNX files.", no_args_is_help=True)
app.add_typer(backbone_app, name="backbone")


class PrecisionName(str, Enum):
    """What the graph computes in."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class ModelName(str, Enum):
    """Which method."""

    protoad = "protoad"


class MethodName(str, Enum):
    """How prototypes are chosen."""

    coreset = "coreset"
    finch = "finch"


class ScoreName(str, Enum):
    """Which map's maximum is the score."""

    smoothed = "smoothed"
    raw = "raw"


class EngineName(str, Enum):
    """What runs the graph."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    openvino = "openvino"
    onnxruntime = "onnxruntime"


Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
EngineOption = Annotated[EngineName | None, typer.Option(help="auto picks the best, and says why.")]
Images = Annotated[Path | None, typer.Argument(help="Folder of good images, or MVTec's layout.")]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("build/demo"),
    json: Json = False,
) -> None:
    """Draw a production line, learn it, inspect it: no data, download or GPU needed."""
    from edge.demo import run_demo

    with console.stage_bars() as bars:
        outcome = run_demo(output, show=bars.show)
    if json:
        console.print_json(outcome.to_json())
    else:
        outcome.print()


@app.command()
def build(
    images: Images = None,
    model: Annotated[ModelName, typer.Option()] = ModelName.protoad,
    precision: Annotated[PrecisionName | None, typer.Option(help="Default fp16.")] = None,
    backbone: Annotated[str | None, typer.Option(help="bundled, or FILE.onnx.")] = None,
    layers: Annotated[str | None, typer.Option(help="Stages, such as layer2,layer3.")] = None,
    size: Annotated[str | None, typer.Option(help="256 or WIDTHxHEIGHT, px.")] = None,
    roi: Annotated[str | None, typer.Option(help="x,y,width,height inspected, px.")] = None,
    prototypes: Annotated[int | None, typer.Option(min=1, max=65536, help="At most.")] = None,
    method: Annotated[MethodName | None, typer.Option()] = None,
    score: Annotated[ScoreName | None, typer.Option(help="Map whose maximum counts.")] = None,
    false_rejects: Annotated[
        float | None,
        typer.Option(help="Rate of good parts that may be rejected; default 0.001."),
    ] = None,
    min_area: Annotated[int | None, typer.Option(min=0, help="px of the picture.")] = None,
    engine: EngineOption = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="TensorRT-RTX plan for sm86, sm89 …; repeat; default portable."),
    ] = None,
    memory: Annotated[int | None, typer.Option(min=16, help="MiB for patches.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    output: Annotated[Path | None, typer.Option(help="The bundle, NAME.edge.")] = None,
    json: Json = False,
) -> None:
    """Learn an inspector from good images and write its bundle."""
    from calibrate.stages import Stages
    from edge.build import build as run_build
    from edge.config import ConfigError, read_config

    config = read_config().build
    folder = images or config.images
    if folder is None:
        raise ConfigError("no images: name a folder, or set build.images in edge.toml (edge init)")
    given: dict[str, Any] = {
        "precision": precision,
        "backbone": backbone,
        "layers": tuple(layers.split(",")) if layers else None,
        "size": size,
        "roi": roi,
        "prototypes": prototypes,
        "method": method,
        "score": score,
        "false_rejects": false_rejects,
        "min_area": min_area,
        "engine": engine,
        "gpu": tuple(gpu) if gpu else None,
        "memory": memory,
        "seed": seed,
    }
    options = _options(given, config.model_dump())
    target = output or config.output or Path("build") / f"{folder.resolve().name}.edge"
    with console.stage_bars() as bars:
        built = run_build(
            folder, target, options=options, stages=Stages(bars.show), say=console.say
        )
    if json:
        console.print_json(built.to_json())
    else:
        _print_built(built)


@app.command()
def stream(
    source: Annotated[
        str | None,
        typer.Argument(help="/dev/video0, 0, csi://0, rtsp://…, http://…, file, folder, glob."),
    ] = None,
    bundle: Annotated[Path | None, typer.Option()] = None,
    engine: EngineOption = None,
    show: Annotated[
        bool | None,
        typer.Option("--show/--no-show", help="Window; default: where there is a display."),
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Overlay video, .mp4 or .avi.")] = None,
    results: Annotated[Path | None, typer.Option(help="JSON lines, one a frame.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for overlay pictures.")] = None,
    threshold: Annotated[float | None, typer.Option(help="In place of the bundle's.")] = None,
    min_area: Annotated[int | None, typer.Option(min=0, help="px of the frame.")] = None,
    ignore: Annotated[Path | None, typer.Option(help="Mask: white is ignored.")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1)] = None,
    stall_after: Annotated[float | None, typer.Option(help="s without a frame: ERROR.")] = None,
    json: Json = False,
) -> None:
    """Inspect a camera, a stream, a video or images, frame by frame."""
    from edge.watch import Watch, watch

    options = Watch(
        source=source,
        bundle=bundle,
        engine=engine.value if engine else None,
        show=show,
        record=record,
        results=results,
        pictures=pictures,
        threshold=threshold,
        min_area=min_area,
        ignore=ignore,
        max_frames=max_frames,
        stall_after=stall_after,
    )
    summary = watch(options, say=console.say)
    if json:
        console.print_json(summary.to_json())
    else:
        console.say(_summary_line(summary.to_json()))


@app.command()
def evaluate(
    bundle: BundleArgument,
    images: Annotated[Path, typer.Argument(help="Labelled images, MVTec's layout.")],
    engine: EngineOption = None,
    threshold: Annotated[float | None, typer.Option(help="In place of the bundle's.")] = None,
    grid: Annotated[Path | None, typer.Option(help="Picture grid, .png.")] = None,
    json: Json = False,
) -> None:
    """Measure a bundle on labelled images: AUROC, AUPRO, F1, false rejects and escapes."""
    from calibrate.stages import Stages
    from edge.evaluation import evaluate_bundle, print_evaluation

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
        print_evaluation(evaluation)


@app.command()
def info(bundle: BundleArgument, json: Json = False) -> None:
    """Show what a bundle is, how its threshold was set, and which plans it has."""
    from edge.info import bundle_info

    found = bundle_info(bundle)
    if json:
        console.print_json(found)
    else:
        console.print_table(str(bundle), found.items())


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Of the product.")] = "part",
    output: Annotated[Path, typer.Option()] = Path("edge.toml"),
) -> None:
    """Write a commented edge.toml."""
    from edge.config import write_config

    write_config(output, name=name)
    console.say(f"{output}: written; set build.images and stream.source, then run `edge build`")


@backbone_app.command("export")
def backbone_export(
    name: Annotated[str, typer.Argument(help="resnet18, wide_resnet50_2 or mobilenet_v2.")],
    output: Annotated[Path, typer.Option(help="FILE.onnx")],
    weights: Annotated[
        Path | None,
        typer.Option(help=".safetensors or .pth, torchvision's names; default: download."),
    ] = None,
) -> None:
    """Write a backbone's ONNX file from weights (needs protoedge[train])."""
    from calibrate.backbones.export import export_backbone

    path = export_backbone(name, weights=weights, output=output)
    console.say(f"{path}: written; use it with `edge build IMAGES --backbone {path}`")


def _options(given: dict[str, Any], config: dict[str, Any]) -> Options:
    """The command line over `edge.toml` over the defaults."""
    from edge.build import Options
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


def _print_built(built: Built) -> None:
    from edge.build_report import statement

    manifest = built.bundle.manifest
    rows: list[tuple[str, object]] = [
        ("engine", built.why_engine),
        ("executes", f"{manifest.precision} graph as {manifest.executes}"),
        ("prototypes", f"{manifest.prototypes} from {manifest.images.used} images"),
        ("threshold", statement(built.threshold)),
        *((name, value) for name, value in manifest.figures.items()),
        ("plans", ", ".join(built.plans) or None),
        ("report", str(built.bundle.path / "report.html")),
    ]
    console.print_table(f"{built.bundle.path}: built in {built.seconds:.1f} s", rows)
    if built.threshold.warning:
        console.say(f"warning: {built.threshold.warning}")


def _summary_line(summary: dict[str, Any]) -> str:
    latency = summary["latency_ms"]
    times = (
        ", ".join(f"{name} {value:.1f} ms" for name, value in latency.items()) if latency else "-"
    )
    return (
        f"{summary['frames']} frames: {summary['ok']} OK, {summary['ng']} NG, "
        f"{summary['error']} ERROR; {summary['dropped']} dropped; {summary['rate_hz']:.1f} Hz; "
        f"latency {times}"
    )


def main() -> None:
    """Run the command; errors end as one line on stderr and an exit code, never a traceback."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; what was there before is unchanged", 130)
    except Exception as error:  # the border: every error becomes a line
        if os.environ.get("EDGE_DEBUG"):
            raise
        _fail(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """The line and the exit code of an error: 2 for bad use, 1 for a failure."""
    import click

    from cameras.errors import SourceError
    from edge.sinks import SinkError

    if isinstance(error, click.ClickException):
        return f"{error.format_message()}; see edge --help", 2
    if isinstance(error, ValueError | SourceError | SinkError):
        return str(error), 2
    if isinstance(error, OSError | RuntimeError):
        return str(error), 1
    what = f"{type(error).__name__}: {error}"
    return f"internal error, {what}; EDGE_DEBUG=1 shows where; please report it", 1


def _fail(line: str, code: int) -> None:
    sys.stderr.write(f"edge: {' '.join(line.split())}\n")
    sys.exit(code)
