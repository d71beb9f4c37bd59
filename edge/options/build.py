"""The options of `edge build`, `[build]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.fields import (
    Count,
    NameOrPath,
    Names,
    OptionsModel,
    Positive,
    PrototypesText,
    RoiText,
    SizeText,
    TilesText,
    option,
)
from edge.options.names import (
    ENGINE,
    BitDepth,
    EngineName,
    ImagePlaces,
    ModelName,
    RejectRate,
    bit_depth_option,
    device_option,
)
from engines.manifest import MAX_BATCH

PROTOTYPES = 4096  # of ProtoAD


class BuildOptions(OptionsModel):
    """What decides a bundle: `edge build`, `[build]`."""

    images: ImagePlaces = option(
        (),
        "Folders of good images, one in the layout of MVTec AD, or videos of good parts.",
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
    backbone: NameOrPath = option(
        "bundled", "Feature extractor: bundled, or the path of an ONNX file."
    )
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
    bit_depth: BitDepth | None = bit_depth_option("all 16")
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
    false_rejects: RejectRate = option(
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
    device: Count | None = device_option()
    gpu: Names = option(
        (),
        "GPUs to compile TensorRT-RTX plans for, such as sm86,sm89.",
        unset="one portable plan",
        example=("sm86", "sm89"),
    )
    max_batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = option(
        1, "Images of several cameras that a GPU computes at once, at most."
    )
    max_flips: Count = option(0, "Number of verdicts that the precision may change.")
    max_score_error: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = option(
        None,
        "How far the precision may move a good image's score, as a share of its distance to the "
        "threshold.",
        unset="0.1; 0.01 in fp32",
        example=0.1,
    )
    compare_all: bool = option(
        False, "Compare all engines with fp32 on all images, not the deployed one alone."
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
