"""Every option of the commands and every key of `edge.toml`, each declared once.

`edge.config` reads `edge.toml` into these models; `edge.cli.options` makes the command line from
them; the example that `edge init` writes and docs/edge_toml.md are made from them too. The keys of
a PLC's bridge are in `edge.plc.BRIDGE.section`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from edge.fields import (
    Count,
    Finite,
    Milliseconds,
    Names,
    OptionsModel,
    Positive,
    PrototypesText,
    RoiText,
    Seconds,
    Settling,
    SizeText,
    TilesText,
    names_from_text,
    option,
    setting,
)

PROTOTYPES = 4096  # of ProtoAD
DEADLINE_MS = 400.0  # of a live frame: what hangs is an ERROR well within half a second
PART_DEADLINE_MS = 1000.0  # from a trigger
EngineName = Literal["auto", "tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"]
ModelName = Literal["protoad", "prn"]
BridgeName = Literal["modbus", "opcua", "mqtt"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
# No dot at the beginning: "." and ".." are no names of a folder, nor of a place on the page.
CameraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]
Sources = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
ENGINE = "Engine that runs the graph: auto picks the best and says why."
Bridges = Annotated[tuple[BridgeName, ...], BeforeValidator(names_from_text)]


class BuildOptions(OptionsModel):
    """What decides a bundle: `edge build`, `[build]`."""

    images: Path | None = option(
        None,
        "Folder of good images, or one in the layout of MVTec AD.",
        example="images",
        begin=True,
        name="IMAGES",
    )
    output: Path | None = option(
        None,
        "Folder to write the bundle to.",
        unset="build/FOLDER.edge, named after the folder of images",
        example="build/{name}.edge",
        begin=True,
    )
    precision: Literal["fp32", "fp16", "int8"] = option(
        "fp16", "Arithmetic of the graph.", begin=True
    )
    model: ModelName = option(
        "protoad", "Method: protoad learns in seconds, prn is trained and needs torch."
    )
    backbone: str = option("bundled", "Feature extractor: bundled, or the path of an ONNX file.")
    layers: Names = option(
        (),
        "Stages of the backbone that ProtoAD compares, such as layer2,layer3.",
        unset="those that measured best",
        example=("layer2", "layer3"),
    )
    size: SizeText | None = option(
        None,
        "Size of the model's images, or of its tiles, in px: one number or WIDTHxHEIGHT.",
        unset="keeps the pictures' shape, in about as many px as 256x256",
        example="256",
    )
    tiles: TilesText = option(
        (1, 1),
        "Overlapping tiles that pictures are cut into for small defects: COLUMNSxROWS.",
        example="1x1",
    )
    roi: RoiText | None = option(
        None,
        "Region that is inspected: x,y,width,height in px of the camera's picture.",
        unset="all of it",
        example="100,50,800,600",
    )
    prototypes: PrototypesText | None = option(
        None,
        "Largest number of prototypes; auto chooses it by defects drawn into good images.",
        unset=f"{PROTOTYPES}; for prn a tenth of the images",
        example=PROTOTYPES,
    )
    tune: bool = option(False, "Choose metric and prototypes by drawn defects: takes minutes.")
    method: Literal["coreset", "finch"] = option("coreset", "How ProtoAD chooses its prototypes.")
    metric: Literal["whitened", "cosine"] = option(
        "whitened", "How ProtoAD compares patches: whitened counts less what good ones vary in."
    )
    score: Literal["top", "smoothed", "raw"] = option(
        "top",
        "How ProtoAD's map becomes a score: by its highest value and its top shares, or by the "
        "maximum of the smoothed or the raw map.",
    )
    false_rejects: Annotated[float, Field(gt=0, lt=1)] = option(
        0.01,
        "Rate of good parts that may be rejected; with fewer than 1/rate images one in so many.",
    )
    extrapolate: bool = option(
        False,
        "Go beyond the highest score where the images are too few for the rate: more escapes.",
    )
    min_area: Count = option(0, "Smallest region that rejects, in px of the camera's picture.")
    scale: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = option(
        None,
        "Millimetres of the part in a px of the camera's picture, to tell sizes of defects in mm.",
        unset="sizes in px alone",
        example=0.05,
    )
    engine: EngineName = option("auto", ENGINE)
    gpu: Names = option(
        (),
        "GPUs to compile TensorRT-RTX plans for, such as sm86,sm89.",
        unset="one portable plan",
        example=("sm86", "sm89"),
    )
    max_flips: Count = option(0, "Number of verdicts that the precision may change.")
    max_score_error: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = option(
        None,
        "How far the precision may move a good image's score, as a share of its distance to the "
        "threshold.",
        unset="0.1; 0.01 in fp32",
        example=0.1,
    )
    memory: Annotated[int, Field(ge=16)] = option(
        1024, "MiB of memory that the images' patches may take."
    )
    seed: Count = option(0, "Random seed.")
    prn_size: Literal["compact", "paper"] = option(
        "compact", "Proportions of PRN: a CPU can train compact, paper wants a GPU."
    )
    steps: Positive = option(3000, "Number of steps that PRN is trained for.")
    epochs: Positive | None = option(
        None, "Number of epochs that PRN is trained for, in place of steps.", example=100
    )
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = option(
        8, "Images in a step of PRN's training."
    )
    defects: Path | None = option(
        None, "Folder of real defects with masks that PRN learns from.", example="defects"
    )
    most_defects: Positive | None = option(
        None, "Largest number of real defects that PRN learns from.", unset="all", example=10
    )
    textures: Path | None = option(
        None,
        "Folder of textures for PRN's simulated defects.",
        unset="drawn ones",
        example="textures",
    )


class CameraOptions(OptionsModel):
    """How one camera's frames are judged: `edge stream`, `[stream]`, `[cameras.NAME]`."""

    bundle: Path | None = option(
        None,
        "Bundle to inspect with.",
        unset="the one that build.output names, or the only one under build/",
        example="build/{name}.edge",
        begin=True,
    )
    engine: EngineName = option("auto", ENGINE)
    threshold: Finite | None = option(
        None, "Score from which a part is NG.", unset="the bundle's own", example=0.25
    )
    min_area: Count | None = option(
        None,
        "Smallest region that rejects, in px of the frame.",
        unset="the bundle's own",
        example=0,
    )
    ignore: Path | None = option(
        None,
        "Picture that is white where defects are ignored; none ignores nothing.",
        unset="the bundle's own",
        example="ignore.png",
    )
    roi: RoiText | None = setting(
        None,
        "Region that is inspected: x,y,width,height in px of the frame.",
        unset="the bundle's own",
        example="100,50,800,600",
    )
    stall_after: Annotated[float, Field(gt=0, allow_inf_nan=False)] = option(
        1.0, "Seconds without a frame after which the verdict is ERROR."
    )
    deadline_ms: Milliseconds | None = option(
        None,
        "Milliseconds from a live frame or a trigger to its result; after that, ERROR.",
        unset=f"{DEADLINE_MS:g}; {PART_DEADLINE_MS:g} after a trigger",
        example=DEADLINE_MS,
    )
    health_off: Names = setting(
        (),
        "Checks of the picture that are left out, such as occluded (docs/health.md).",
        example=("occluded",),
    )


class CameraSection(CameraOptions):
    """One of several cameras; what it does not set is taken from `[stream]`."""

    source: str = setting(
        ..., "Camera, address, file, folder or glob.", example="rtsp://line3/cam0"
    )
    options: dict[str, str | float] = setting(
        {}, "Options of the source (docs/cameras.md).", example={"size": "1280x720"}
    )


class StreamOptions(CameraOptions):
    """What is inspected, and where results go: `edge stream`, `[stream]`."""

    source: Sources = option(
        (),
        "Cameras, addresses, files, folders or globs, or names of cameras in edge.toml.",
        unset="the cameras of edge.toml, else stream.source",
        example="/dev/video0",
        begin=True,
        name="SOURCE",
    )
    show: bool | None = option(
        None, "Show the results in a window.", unset="where there is a display", example=False
    )
    record: Path | None = option(
        None,
        "Video of the drawn results, .mp4 or .avi; a folder gets one video for every ten minutes.",
        example="overlay.mp4",
    )
    results: Path | None = option(
        None, "File of JSON lines, one for each result.", example="results.jsonl"
    )
    results_mb: Positive | None = setting(
        None,
        "MiB at which a new results file begins; an existing one is then appended to.",
        example=100,
    )
    results_kept: Positive = setting(9, "Number of older results files.")
    database: Path | None = option(
        None, "SQLite database, one row for each result.", example="results.db"
    )
    pictures: Path | None = option(
        None, "Folder for a drawn picture of every result.", example="pictures"
    )
    keep: Path | None = option(
        None, "Folder for pictures and results of NG and ERROR parts.", example="kept"
    )
    keep_mb: Positive = setting(
        10240, "MiB that the folder of kept parts may take; the oldest are removed."
    )
    keep_free_mb: Count = setting(512, "MiB of the disk that stay free.")
    max_frames: Positive | None = option(
        None, "Number of frames after which to stop.", example=1000
    )
    triggered: bool = option(False, "Inspect a part for each line on stdin, not each frame.")
    under_way: Positive = setting(
        8, "Parts that may be under way in triggered mode; one more is an ERROR."
    )
    settle_ms: Settling = setting(
        0.0, "Milliseconds that pass after a trigger before a live picture counts."
    )


class LifeOptions(OptionsModel):
    """How a command that runs for months is watched over: `[life]`."""

    self_test_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = setting(
        600.0, "Seconds between tests with the golden images; 0 tests at the start alone."
    )
    watch_bundles: bool = setting(True, "Take a bundle into use once it is built anew.")
    monitor: str | None = option(
        None,
        "Address, HOST:PORT, that serves the page, /healthz and /metrics.",
        example="127.0.0.1:9464",
    )
    monitor_token: Path | None = setting(
        None, "File with the token that other machines have to give.", example="monitor.token"
    )
    monitor_hosts: Names = setting(
        (),
        "Names by which others reach this machine, besides its IP address.",
        example=("line3.plant.example",),
    )


class LogOptions(OptionsModel):
    """What is logged on stderr: `[log]`."""

    format: LogFormat | None = setting(
        None, "Form of the log.", unset="plain lines", example="text"
    )
    level: LogLevel = setting("info", "Lowest level that is logged.")


class ServeOptions(OptionsModel):
    """What a station is: `edge serve`, `[station]`."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")] = setting(
        "station", "Name of the station in results, nodes and topics."
    )
    source: str | None = option(
        None,
        "Camera, address, file, folder or glob; files start over at their end.",
        unset="stream.source",
        example="/dev/video0",
        name="SOURCE",
    )
    bridges: Bridges = option((), "Bridges to open.", example=("modbus",), name="--bridge")
    mode: Literal["triggered", "free"] = setting(
        "triggered", "Who triggers: a PLC, or the station itself every `every_ms`."
    )
    every_ms: Annotated[float, Field(ge=1, le=3600000, allow_inf_nan=False)] = setting(
        100.0, "Milliseconds between two parts of a station that triggers itself."
    )
    bundle: Path | None = option(
        None,
        "Bundle of the only recipe, in place of recipes.",
        unset="the one that edge stream would take",
        example="build/{name}.edge",
    )
    recipes: dict[Annotated[int, Field(ge=1, le=65535)], Path] | None = setting(
        None,
        "Bundles that a PLC can choose, by number.",
        unset="the bundle alone",
        example={1: "build/{name}.edge"},
    )
    recipe: Positive = setting(1, "Number of the recipe at the start.")
    engine: EngineName = option("auto", ENGINE)
    deadline_ms: Milliseconds = option(
        PART_DEADLINE_MS, "Milliseconds from trigger to result; after that, REJECT."
    )
    warm_up: Annotated[int, Field(ge=1, le=1000)] = setting(
        5, "Inspections in a row that must keep the deadline before it is online."
    )
    settle_ms: Settling = setting(
        0.0, "Milliseconds that pass after a trigger before a live picture counts."
    )
    stall_after_s: Seconds = setting(
        1.0, "Seconds without a picture after which there is no camera."
    )
    silent_after_s: Annotated[float, Field(ge=0.2, le=60, allow_inf_nan=False)] = setting(
        0.75, "Seconds without a sign of life after which the worker is replaced."
    )
    hang_after_s: Seconds = setting(
        10.0, "Seconds of one inspection after which the worker is replaced."
    )
    clear_faults: Literal["plc", "auto"] = setting(
        "plc", "Who ends a fault: a PLC, or auto once the worker is back."
    )
    results: Path | None = setting(
        None, "File of JSON lines, one for each part.", example="results.jsonl"
    )
    results_mb: Positive | None = setting(
        None, "MiB at which a new results file begins.", example=100
    )


class CompileOptions(OptionsModel):
    """Which plans to compile: `edge compile`."""

    engine: Literal["auto", "tensorrt", "tensorrt-rtx"] = option(
        "auto", "Compiler: auto takes TensorRT where it works and no GPU is named, else RTX."
    )
    gpu: Names = option(
        (),
        "GPUs to compile TensorRT-RTX plans for, such as sm86,sm89.",
        unset="the GPU that is here, or one portable plan with TensorRT-RTX",
    )
    workspace: Positive | None = option(
        None,
        "MiB of scratch memory that a kernel may use.",
        unset="TensorRT's own; on a Jetson half of what is free",
    )
    version_compatible: bool = option(
        False, "Let newer TensorRT libraries of the same major version load the plan."
    )
    hardware_compatible: bool = option(
        False, "Let any GPU of Ampere's generation or later load TensorRT's plan."
    )
