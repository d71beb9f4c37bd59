"""What is proven on the GPU: an inspector of the drawn line, learnt here, at each precision."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.features_graph import default_layers
from calibrate.images import Image, fitted_batches
from calibrate.progress import Stages
from calibrate.protoad.learn import prepare_protoad
from calibrate.protoad.options import Form, ProtoadOptions
from calibrate.threshold import threshold_from_scores
from edge.demo.stills import draw_dataset
from edge.prove.errors import DisprovenError, NotPossibleError
from engines.bundle import Bundle
from engines.choose import open_engine
from engines.engine import Engine, EngineOptions, Precision

REFERENCE = "onnxruntime"
FALSE_REJECTS = 0.01
SHOWN = 12  # good pictures that it has learnt from; the others it has not seen
MAX_TRAINING_S = 180
_EDGE = "from edge.cli.main import main; main()"


@dataclass(frozen=True, slots=True)
class SubjectOptions:
    """What is drawn and learnt.

    Attributes:
        size: height and width of pictures and model, in px.
        good: pictures to learn from.
        prototypes: at most.
        seed: of pictures and learning.
    """

    size: int = 256
    good: int = 24
    prototypes: int = 1024
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A graph, and pictures on which two engines must agree.

    Attributes:
        precision: of the graph.
        model: serialised ONNX.
        threshold: from which a picture is NG.
        margin: from the median score of good pictures to the threshold.
        images: (n, H, W, 3) uint8 BGR: good and defective ones.
    """

    precision: Precision
    model: bytes
    threshold: float
    margin: float
    images: Image


def draw_pictures(folder: Path, options: SubjectOptions) -> Path:
    """Draw the pictures, once a folder."""
    pictures = folder / "pictures"
    if not pictures.exists():
        draw_dataset(
            pictures,
            good=options.good,
            test_good=4,
            defects_each=1,
            seed=options.seed,
            size=options.size,
        )
    return pictures


def learn_subject(folder: Path, precision: Precision, options: SubjectOptions) -> Subject:
    """Learn ProtoAD from drawn pictures; the reference computes, so no GPU decides anything."""
    pictures = draw_pictures(folder, options)
    good = sorted((pictures / "train" / "good").glob("*.png"))
    backbone = load_backbone("bundled")
    prepared = prepare_protoad(
        backbone,
        good,
        options=ProtoadOptions(
            precision=precision,
            size=(options.size, options.size),
            layers=default_layers(backbone),
            form=Form(prototypes=options.prototypes),
            seed=options.seed,
        ),
        open_engine=open_reference,
        stages=Stages(),
    )
    inspector = prepared.rebuild({})
    threshold = threshold_from_scores(inspector.held_out, false_rejects=FALSE_REJECTS).value
    return Subject(
        precision=precision,
        model=inspector.model,
        threshold=threshold,
        margin=threshold - float(np.median(inspector.held_out)),
        images=_images(pictures, options),
    )


def train_subject(folder: Path, options: SubjectOptions) -> Subject:
    """Train a PRN for one epoch, in a process of its own that sees no GPU.

    torch would make the GPU's context its own, and a lost one could not be made anew.

    Raises:
        DisprovenError: it was not trained.
        NotPossibleError: this machine is too slow for it.
    """
    pictures, output = draw_pictures(folder, options), folder / "prn.edge"
    size = f"{options.size}x{options.size}"
    command = ["build", str(pictures), "--output", str(output), "--model", "prn", "--epochs", "1"]
    command += ["--precision", "fp16", "--engine", REFERENCE, "--size", size]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _EDGE, *command],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=MAX_TRAINING_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotPossibleError(f"one epoch takes more than {MAX_TRAINING_S} s here") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DisprovenError(f"PRN was not trained: {last}")
    bundle = Bundle.open(output)
    threshold = bundle.manifest.threshold.value
    return Subject(
        precision="fp16",
        model=bundle.model(),
        threshold=threshold,
        margin=threshold,  # of probabilities, which begin at 0
        images=_images(pictures, options),
    )


def open_reference(model: bytes, precision: Precision) -> Engine:
    """Open a graph on ONNX Runtime, which the others are held against."""
    return open_engine(model, engine=REFERENCE, options=EngineOptions(precision))


def _images(pictures: Path, options: SubjectOptions) -> Image:
    learnt = sorted((pictures / "train" / "good").glob("*.png"))[:SHOWN]
    paths = [*learnt, *sorted((pictures / "test").glob("*/*.png"))]
    size = (options.size, options.size)
    return np.concatenate(list(fitted_batches(paths, size=size, roi=None)))
