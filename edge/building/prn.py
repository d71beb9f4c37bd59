"""PRN as a method of learning."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.tiles import WHOLE
from calibrate.learnt import OpenEngine
from calibrate.likeness.clusters import Clusters
from calibrate.prn.options import TrainingError, TrainingOptions, prn_stages, shape_of
from calibrate.progress import Stages
from edge.building.methods import Taught
from edge.checking.model_size import SizedBuildOptions
from edge.drawing.report import Curve
from engines.manifest import TrainingRecord

if TYPE_CHECKING:
    from calibrate.prn.learn import PreparedPrn

RECENT = 50  # last steps whose mean loss is recorded


@dataclass(frozen=True, slots=True)
class PrnMethod:
    """Trains a network; an `edge.building.methods.LearningMethod`."""

    backbone: Backbone
    options: SizedBuildOptions
    training: TrainingOptions
    folder: Path
    open_engine: OpenEngine

    def learn(self, images: Sequence[Path], clusters: Clusters, stages: Stages) -> Taught:
        """Learn from usable good images; torch is loaded here, and nowhere else."""
        from calibrate.prn.learn import SCORE, PrnOptions, prepare_prn

        options = self.options
        chosen = PrnOptions(
            precision=options.precision,
            size=options.size,
            training=self.training,
            roi=options.roi,
            epochs=options.epochs,
            defects=options.defects,
            most_defects=options.most_defects,
            textures=options.textures,
            folder=self.folder,
        )
        prepared = prepare_prn(
            self.backbone,
            images,
            options=chosen,
            open_engine=self.open_engine,
            stages=stages,
            clusters=clusters,
        )
        losses = prepared.history.losses
        validations = tuple((v.step, v.average_precision) for v in prepared.history.validations)
        return Taught(
            inspector=prepared.rebuild({}),
            prepared=prepared,
            images=len(prepared.taught),
            layers=prn_stages(self.backbone),
            method="k-means",
            score_kind=SCORE,
            how_held_out="held out",
            probabilities=True,
            training=_training_record(prepared, textures=options.textures),
            curve=Curve(f"Training: {len(losses)} steps", losses, validations),
            earlier=prepared.earlier,
        )


def prn_method(
    options: SizedBuildOptions, backbone: Backbone, *, folder: Path, open_engine: OpenEngine
) -> PrnMethod:
    """PRN as the user wants it; what cannot be is refused now, before minutes of work.

    Raises:
        TrainingError: no torch, or options that are ProtoAD's.
        BackboneError, ValueError: a backbone, size or number that PRN cannot work with.
    """
    count = _check_options(options)
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"PRN is trained with torch: {', '.join(missing)} not installed; "
            "pip install 'protoedge[train]', or build with --model protoad"
        )
    shape_of(backbone, image_size=options.size, prototypes=(1, 1, 1), size=options.prn_size)
    training = TrainingOptions(
        size=options.prn_size,
        steps=options.steps,
        batch=options.batch,
        prototypes=count,
        seed=options.seed,
    )
    return PrnMethod(backbone, options, training, folder, open_engine)


def _check_options(options: SizedBuildOptions) -> int | None:
    """Refuse options that are ProtoAD's; the number of prototypes."""
    if options.layers:
        raise TrainingError("--layers is ProtoAD's: PRN compares the stages at strides 4, 8 and 16")
    if options.tiles != WHOLE:
        raise TrainingError("--tiles is ProtoAD's: PRN looks at a picture as a whole; give --size")
    if options.tune:
        raise TrainingError("--tune is ProtoAD's: PRN learns its metric; leave it out")
    if options.prototypes == "auto":
        raise TrainingError("--prototypes auto is ProtoAD's: give a number, or leave it out")
    return options.prototypes


def _training_record(prepared: PreparedPrn, *, textures: Path | None) -> TrainingRecord:
    training = prepared.training
    return TrainingRecord(
        size=training.size,
        steps=training.steps,
        batch=training.batch,
        arithmetic=training.precision,
        loss=float(np.mean(prepared.history.losses[-RECENT:])),
        textures=textures.name if textures else "drawn",
        defects=prepared.defects,
    )
