"""`edge.toml`: what a production line's commands default to."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = Path("edge.toml")
BUILDS = Path("build")

TEMPLATE = """\
# edge.toml: what `edge build`, `edge stream` and the other commands default to.
# Paths are relative to the folder in which the command runs. Options on the command line win.

[build]
images = "images"            # a folder of good images, or one in MVTec AD's layout
output = "build/{name}.edge"  # the bundle
precision = "fp16"           # fp32 | fp16 | int8
# model = "protoad"          # or "prn", which is trained: see docs/prn.md
# backbone = "bundled"       # or the path of an ONNX file: see `edge backbone export --help`
# layers = ["layer2", "layer3"]
# size = "256"               # or "WIDTHxHEIGHT", in px
# roi = "100,50,800,600"     # x,y,width,height in px of the camera's picture
# prototypes = 4096          # prn: default a tenth of the images
# method = "coreset"         # or "finch"
# score = "smoothed"         # or "raw"
# false_rejects = 0.001      # rate of good parts that may be rejected
# min_area = 0               # smallest region that rejects, in px of the camera's picture
# engine = "auto"            # tensorrt | tensorrt-rtx | openvino | onnxruntime
# gpu = ["sm86", "sm89"]     # TensorRT-RTX plans to compile ahead of time; default: portable
# max_flips = 0              # verdicts that the precision may change
# max_score_error = 0.1      # share of a good score's way up to the threshold
# memory = 1024              # most memory for patches, in MiB
# seed = 0
# prn_size = "compact"       # or "paper"; this and the rest are prn's
# steps = 3000
# epochs = 100               # in place of steps
# batch = 8
# defects = "defects"        # folder of real defects with masks to learn from
# most_defects = 10
# textures = "textures"      # folder of textures for simulated defects; default: drawn ones

[stream]
source = "/dev/video0"       # or rtsp://…, http://…, csi://0, a file, folder or glob
bundle = "build/{name}.edge"
# engine = "auto"
# threshold = 0.25           # in place of the bundle's own
# min_area = 0
# ignore = "ignore.png"      # where it is white nothing counts
# record = "overlay.mp4"
# results = "results.jsonl"
# results_mb = 100           # append, and begin a new file at this size: results.jsonl.1 …
# results_kept = 9           # older files
# database = "results.db"    # SQLite: a row a result
# keep = "kept"              # folder for NG and ERROR parts: picture, drawn, result line
# keep_mb = 10240            # the oldest make room
# keep_free_mb = 512         # of the disk, that stay free
# stall_after = 1.0          # seconds without a frame after which the verdict is ERROR
# deadline_ms = 400.0        # from a live frame to its result, then ERROR; a trigger's: 1000
# under_way = 8              # triggered: so many parts; one more is an ERROR
# settle_ms = 0.0            # triggered: a live picture counts from so long after its trigger
# roi = "100,50,800,600"     # in place of the bundle's own
# health_off = ["occluded"]  # signs of a bad picture that are not looked for

[cameras]                    # several at once, with what differs from [stream]: docs/stream.md
# left = {{ source = "rtsp://line3/cam0", bundle = "build/left.edge", threshold = 0.25 }}
# right = {{ source = "1", roi = "100,50,800,600", options = {{ size = "1280x720" }} }}

[life]                       # docs/operate.md
# self_test_s = 600.0        # between tests with the golden images; 0: at the start alone
# watch_bundles = true       # take a bundle into use that is built anew
# monitor = "127.0.0.1:9464" # page, /healthz, /metrics; others reach it with a token alone
# monitor_token = "monitor.token"  # a file that holds it
# monitor_hosts = ["line3.plant.example"]  # by which names, beside the IP address

[log]
# format = "text"            # or "json"; default: plain lines
# level = "info"             # debug | info | warning | error

[station]                    # `edge serve`: see docs/plc.md
# name = "station"
# bridges = ["modbus"]       # and "opcua", "mqtt"
# mode = "triggered"         # or "free": a part every `every_ms` without a PLC's trigger
# every_ms = 100.0
# source = "/dev/video0"     # in place of stream.source
# engine = "auto"
# recipes = {{ 1 = "build/{name}.edge" }}  # bundles that a PLC can choose; default: the one above
# recipe = 1                 # at the start
# deadline_ms = 1000.0       # from trigger to result, then REJECT
# warm_up = 5                # inspections in a row that must keep it before the station is online
# settle_ms = 0.0            # a live picture counts from so long after the trigger
# stall_after_s = 1.0        # a camera without a picture for so long has none
# silent_after_s = 0.75      # a worker without a sign of life for so long is replaced
# hang_after_s = 10.0        # one that takes so long for a part is replaced
# clear_faults = "plc"       # or "auto": a fault ends when the worker is back
# results = "results.jsonl"  # one line a part
# results_mb = 100           # begin a new file at this size: results.jsonl.1 …

[modbus]                     # docs/modbus.md; `edge plc map` prints the registers
# host = "127.0.0.1"
# port = 5020
# peers = ["192.168.0.10"]
# order = "ABCD"

[opcua]                      # docs/opcua.md
# host = "127.0.0.1"
# port = 4840
# user = "line3"
# password_file = "opcua.password"

[mqtt]                       # docs/mqtt.md
# host = "localhost"
# site = "site"
# line = "line"
"""


class ConfigError(ValueError):
    """`edge.toml` cannot be read, or says something that makes no sense."""


EngineName = Literal["auto", "tensorrt", "tensorrt-rtx", "openvino", "onnxruntime"]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Milliseconds = Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)]
# No dot at the beginning: "." and ".." are no names of a folder, nor of a place on the page.
CameraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildSection(_Section):
    """Defaults of `edge build`; None leaves the command's own."""

    images: Path | None = None
    output: Path | None = None
    precision: Literal["fp32", "fp16", "int8"] | None = None
    backbone: str | None = None
    layers: tuple[str, ...] | None = None
    size: str | None = None
    roi: str | None = None
    prototypes: Positive | None = None
    method: Literal["coreset", "finch"] | None = None
    score: Literal["smoothed", "raw"] | None = None
    false_rejects: Annotated[float, Field(gt=0, lt=1)] | None = None
    min_area: Count | None = None
    engine: EngineName | None = None
    gpu: tuple[str, ...] | None = None
    max_flips: Count | None = None
    max_score_error: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    memory: Annotated[int, Field(ge=16)] | None = None
    seed: Count | None = None
    model: Literal["protoad", "prn"] | None = None
    prn_size: Literal["compact", "paper"] | None = None
    steps: Positive | None = None
    epochs: Positive | None = None
    batch: Annotated[int, Field(ge=2)] | None = None
    defects: Path | None = None
    most_defects: Positive | None = None
    textures: Path | None = None


class StreamSection(_Section):
    """Defaults of `edge stream`; None leaves the command's own."""

    source: str | None = None
    bundle: Path | None = None
    engine: EngineName | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    min_area: Count | None = None
    ignore: Path | None = None
    record: Path | None = None
    results: Path | None = None
    results_mb: Positive | None = None
    results_kept: Positive | None = None
    database: Path | None = None
    keep: Path | None = None
    keep_mb: Positive | None = None
    keep_free_mb: Count | None = None
    roi: str | None = None
    stall_after: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    deadline_ms: Milliseconds | None = None
    under_way: Positive | None = None
    settle_ms: Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)] | None = None
    health_off: tuple[str, ...] | None = None


class CameraSection(_Section):
    """One of several cameras of `edge stream`; None takes the word of `[stream]`."""

    source: str
    bundle: Path | None = None
    engine: EngineName | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    min_area: Count | None = None
    ignore: Path | None = None
    roi: str | None = None
    stall_after: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    deadline_ms: Milliseconds | None = None
    options: dict[str, str | float] = {}
    health_off: tuple[str, ...] | None = None


Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
BridgeName = Literal["modbus", "opcua", "mqtt"]


class StationSection(_Section):
    """What `edge serve` is; None takes another section's word, or none."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "station"
    bridges: tuple[BridgeName, ...] = ()
    mode: Literal["triggered", "free"] = "triggered"
    every_ms: Annotated[float, Field(ge=1, le=3_600_000, allow_inf_nan=False)] = 100.0
    source: str | None = None
    engine: EngineName = "auto"
    recipes: dict[Annotated[int, Field(ge=1, le=65535)], Path] | None = None
    recipe: Positive = 1
    deadline_ms: Milliseconds = 1000.0
    warm_up: Annotated[int, Field(ge=1, le=1000)] = 5
    settle_ms: Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)] = 0.0
    stall_after_s: Seconds = 1.0
    silent_after_s: Annotated[float, Field(ge=0.2, le=60, allow_inf_nan=False)] = 0.75
    hang_after_s: Seconds = 10.0
    clear_faults: Literal["plc", "auto"] = "plc"
    results: Path | None = None
    results_mb: Positive | None = None


class LifeSection(_Section):
    """How a command that runs for months is watched over."""

    self_test_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 600.0
    watch_bundles: bool = True
    monitor: str | None = None
    monitor_token: Path | None = None
    monitor_hosts: tuple[str, ...] = ()


class LogSection(_Section):
    """How it logs; without a format, plain lines on stderr."""

    format: Literal["text", "json"] | None = None
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section):
    """The whole file. What a bridge is told is checked by the bridge, when it is opened."""

    build: BuildSection = BuildSection()
    stream: StreamSection = StreamSection()
    cameras: dict[CameraName, CameraSection] = {}
    life: LifeSection = LifeSection()
    log: LogSection = LogSection()
    station: StationSection = StationSection()
    modbus: dict[str, Any] = {}
    opcua: dict[str, Any] = {}
    mqtt: dict[str, Any] = {}


def read_config(path: Path = CONFIG) -> Config:
    """Read `edge.toml`; without one, the empty configuration.

    Raises:
        ConfigError: not TOML, an unknown key, or a value of a wrong type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {where}: {first['msg']}; `edge init` writes an example"
        ) from error


def write_config(path: Path, *, name: str) -> None:
    """Write a commented example.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise ConfigError(f"{path}: is there already; remove it first to start anew") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def find_bundle(given: Path | None, config: Config) -> Path:
    """The bundle that was named, that of `edge.toml`, or the only one under `build/`.

    Raises:
        ConfigError: none, or several to choose from.
    """
    named = given or config.stream.bundle or config.build.output
    if named is not None:
        return named
    found = sorted(path for path in BUILDS.glob("*.edge") if path.is_dir())
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError("no bundle: none under build/; run `edge build IMAGES` or give --bundle")
    names = ", ".join(str(path) for path in found)
    raise ConfigError(f"several bundles: {names}; give --bundle")


def check_output(target: Path) -> None:
    """Find out before minutes of work whether a bundle can be written where it shall be.

    Nothing stays behind.

    Raises:
        ConfigError: something else is there, or the folder cannot be written.
    """
    if target.exists() and not (target / "manifest.json").exists() and not _is_empty(target):
        raise ConfigError(f"{target}: exists and is no bundle; choose another --output")
    home = next(folder for folder in target.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be written, {home}: {error.strerror}; choose another --output"
        ) from error


def check_folder_of(file: Path, *, option: str) -> None:
    """Find out before the work whether a file's folder is there.

    Raises:
        ConfigError: it is not.
    """
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"{file}: {file.parent} is no folder; give another {option}")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
