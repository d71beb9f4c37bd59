"""ProtoAD as a method of learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import default_layers
from calibrate.learnt import OpenEngine
from calibrate.progress import Stages
from calibrate.protoad.learn import ProtoadOptions, prepare_protoad
from edge.building.methods import Taught
from edge.building.model_size import SizedBuildOptions
from edge.options import PROTOTYPES


@dataclass(frozen=True, slots=True)
class ProtoadMethod:
    """Learns prototypes from features; an `edge.building.methods.LearningMethod`."""

    backbone: Backbone
    options: ProtoadOptions
    open_engine: OpenEngine

    def learn(self, images: Sequence[Path], stages: Stages) -> Taught:
        """Learn from usable good images."""
        options = self.options
        prepared = prepare_protoad(
            self.backbone, images, options=options, open_engine=self.open_engine, stages=stages
        )
        return Taught(
            inspector=prepared.rebuild({}),
            prepared=prepared,
            images=len(images),
            layers=options.layers,
            method=options.method,
            score_kind=options.score,
            how_held_out="cross-fitted",
        )


def protoad_method(
    options: SizedBuildOptions, backbone: Backbone, *, folder: Path, open_engine: OpenEngine
) -> ProtoadMethod:
    """ProtoAD as the user wants it; nothing is trained, so `folder` stays empty."""
    chosen = ProtoadOptions(
        precision=options.precision,
        size=options.size,
        layers=options.layers or default_layers(backbone),
        tiles=options.tiles,
        roi=options.roi,
        prototypes=options.prototypes or PROTOTYPES,
        method=options.method,
        metric=options.metric,
        score=options.score,
        seed=options.seed,
        memory_mib=options.memory,
    )
    return ProtoadMethod(backbone, chosen, open_engine)
