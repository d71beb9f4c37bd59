"""Check a folder of good images without learning from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from calibrate.backbones.backbone import Backbone, load_backbone
from calibrate.backbones.features_graph import default_layers, features_graph
from calibrate.dataset import GOOD
from calibrate.learnt import MIN_IMAGES
from calibrate.progress import Stages
from calibrate.threshold import CONFIDENCE, images_needed, upper_bound
from cameras.image_files import taking_bits
from cameras.redaction import printable_path
from edge.checking.kinds import ImageKinds, kinds_of
from edge.checking.model_size import SizedBuildOptions
from edge.checking.read import FoundSet, ReadSet, find_set, read_set, shown_images
from edge.options import BuildOptions
from engines.choose import choose_engine, engine_on, open_engine
from engines.engine import EngineOptions

RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.001)  # of false rejects, for which images are counted


@dataclass(frozen=True, slots=True)
class ProvableRate:
    """A rate of false rejects, and how many different good images prove it if none is rejected.

    Attributes:
        rate: of false rejects.
        needed: different good images.
        missing: how many more than there are.
    """

    rate: float
    needed: int
    missing: int


@dataclass(frozen=True, slots=True, eq=False)
class CheckedSet:
    """What a check found.

    Attributes:
        given: folders and videos that were checked, as a person would give them.
        found: what lies in it.
        read: its images.
        kinds: what a backbone's features tell of them; None where there are too few.
        engine_reason: which engine ran the backbone, and why.
        seconds: by stage.
    """

    given: str
    found: FoundSet
    read: ReadSet
    kinds: ImageKinds | None
    engine_reason: str
    seconds: dict[str, float]

    @property
    def rates(self) -> tuple[ProvableRate, ...]:
        """What so many different images prove, and how many more would prove lower rates."""
        count, asked = self.read.clusters.count, self.found.options.false_rejects
        return tuple(
            ProvableRate(rate, images_needed(rate), max(0, images_needed(rate) - count))
            for rate in sorted({*RATES, asked}, reverse=True)
        )

    @property
    def bound(self) -> float:
        """The rate of false rejects that the images prove at best, none of them rejected."""
        return upper_bound(0, self.read.clusters.count, CONFIDENCE)

    @property
    def kind_lines(self) -> tuple[str, ...]:
        """What the features tell, a line each."""
        return describe_kinds(self.kinds) if self.kinds else ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything that a user should know, a line each; the account comes first."""
        return (*self.found.lines, *self.read.lines, *self.kind_lines)

    def to_json(self) -> dict[str, Any]:
        """The check's object for machines."""
        found, read, dataset = self.found, self.read, self.found.dataset
        height, width = found.options.size
        labels = Counter(sample.defect == GOOD for sample in dataset.test)
        return {
            "images": self.given,
            "layout": dataset.layout,
            "account": dataset.account,
            "notes": list(dataset.notes),
            "left_out": {group.what: len(group.paths) for group in dataset.left_out},
            "good_images": len(dataset.train),
            "good_labelled": labels[True],
            "defect_labelled": labels[False],
            "usable": len(read.usable),
            "skipped": {printable_path(item.path): item.reason for item in read.skipped},
            "findings": [{"kind": one.kind, "text": one.text} for one in found.findings],
            "different_images": read.clusters.count,
            "clusters": [
                [printable_path(read.usable[index]) for index in cluster]
                for cluster in read.clusters.shared
            ],
            "looks": {
                "light": round(read.looks.light, 2),
                "burnt_out": round(read.looks.burnt_out, 4),
                "sharpness": round(read.looks.sharpness, 4),
                "findings": [
                    {"look": one.look, "text": one.text, "images": _names(one.paths)}
                    for one in read.looks.findings
                ],
            },
            "odd": {printable_path(path): far for path, far in self.kinds.odd}
            if self.kinds
            else {},
            "groups": [_names(group) for group in self.kinds.groups] if self.kinds else [],
            "size": [width, height],
            "size_notes": list(found.said),
            "bound": self.bound,
            "confidence": CONFIDENCE,
            "rates": [
                {"rate": one.rate, "needed": one.needed, "missing": one.missing}
                for one in self.rates
            ],
            "engine_reason": self.engine_reason,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def check_images(
    images: Path | Sequence[Path], *, options: BuildOptions, stages: Stages | None = None
) -> CheckedSet:
    """Look at everything that a build would look at first, and at what it would find out later.

    Args:
        images: folders and videos, as for `edge.building.build.build`.
        options: of a build from it; those of learning play no part.
        stages: told about progress.

    Raises:
        DatasetError, ImagesError, ImageError, BackboneError, ParseError, ValueError: bad input.
        EngineError: no engine works here.
    """
    stages = stages or Stages()
    with taking_bits(options.bit_depth):
        backbone, engine = (
            load_backbone(options.backbone),
            choose_engine(engine_on(options.engine, options.device)),
        )
        found = find_set(images, options=options, backbone=backbone)
        read = read_set(found, stages)
        kinds = _find_kinds(read, found.options, backbone, engine=engine.address, stages=stages)
    return CheckedSet(shown_images(images), found, read, kinds, engine.reason, stages.seconds)


def _find_kinds(
    read: ReadSet, options: SizedBuildOptions, backbone: Backbone, *, engine: str, stages: Stages
) -> ImageKinds | None:
    """Odd images and groups among the different ones."""
    paths = read.different
    if len(paths) < MIN_IMAGES:
        return None
    layers = options.layers or default_layers(backbone)
    with stages.stage("features") as advance:
        graph = features_graph(backbone, size=options.size, layers=layers, tiles=options.tiles)
        opened = partial(open_engine, engine=engine, options=EngineOptions("fp32"))
        with opened(graph.model) as running:
            return kinds_of(running, graph, paths, roi=options.roi, progress=advance)


def describe_kinds(kinds: ImageKinds) -> tuple[str, ...]:
    """Odd images and two products, a line each; none where there is nothing to say."""
    lines = []
    if kinds.odd:
        names = ", ".join(f"{printable_path(path.name)} ({far:.1f})" for path, far in kinds.odd[:5])
        more = f" and {len(kinds.odd) - 5} more" if len(kinds.odd) > 5 else ""
        lines.append(
            f"unlike the other good images, in times the usual distance: {names}{more}; look at "
            "them"
        )
    if kinds.groups:
        first, second = kinds.groups
        lines.append(
            f"the good images may be of two products: {len(first)} such as "
            f"{printable_path(first[0].name)} and {len(second)} such as "
            f"{printable_path(second[0].name)}; build a bundle for each"
        )
    return tuple(lines)


def _names(paths: Sequence[Path]) -> list[str]:
    return [printable_path(path) for path in paths]
