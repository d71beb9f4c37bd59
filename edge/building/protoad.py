"""ProtoAD as a method of learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import default_layers
from calibrate.learnt import OpenEngine
from calibrate.likeness.clusters import Clusters
from calibrate.progress import Stages
from calibrate.protoad.learn import prepare_protoad
from calibrate.protoad.options import Form, ProtoadOptions, Tuned
from edge.building.methods import Taught
from edge.checking.model_size import SizedBuildOptions
from edge.options import PROTOTYPES


@dataclass(frozen=True, slots=True)
class ProtoadMethod:
    """Learns prototypes from features; an `edge.building.methods.LearningMethod`."""

    backbone: Backbone
    options: ProtoadOptions
    open_engine: OpenEngine

    def learn(self, images: Sequence[Path], clusters: Clusters, stages: Stages) -> Taught:
        """Learn from usable good images."""
        options = self.options
        prepared = prepare_protoad(
            self.backbone,
            images,
            options=options,
            open_engine=self.open_engine,
            stages=stages,
            clusters=clusters,
        )
        return Taught(
            inspector=prepared.rebuild({}),
            prepared=prepared,
            images=len(images),
            layers=options.layers,
            tuning=prepared.tuning,
            method=options.method,
            score_kind=options.score,
            how_held_out="cross-fitted",
        )


def protoad_method(
    options: SizedBuildOptions, backbone: Backbone, *, folder: Path, open_engine: OpenEngine
) -> ProtoadMethod:
    """ProtoAD as the user wants it; nothing is trained, so `folder` stays empty."""
    count = None if options.prototypes == "auto" else options.prototypes
    chosen = ProtoadOptions(
        precision=options.precision,
        size=options.size,
        layers=options.layers or default_layers(backbone),
        tiles=options.tiles,
        roi=options.roi,
        form=Form(metric=options.metric, prototypes=count or PROTOTYPES),
        tuned=_tuned(options),
        method=options.method,
        score=options.score,
        seed=options.seed,
        memory_mib=options.memory,
    )
    return ProtoadMethod(backbone, chosen, open_engine)


def _tuned(options: SizedBuildOptions) -> tuple[Tuned, ...]:
    """What is chosen by drawn defects; a number that was given stays."""
    chooses_number = options.prototypes == "auto" or (options.tune and options.prototypes is None)
    return (
        *(("metric",) if options.tune else ()),
        *(("prototypes",) if chooses_number else ()),
    )
