"""All good images read once: which can be used, which show one thing, and how each looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrate.backbones.backbone import Backbone
from calibrate.dataset import Dataset, check_masks, dataset_from_folder
from calibrate.images import Image, Skipped, usable_images
from calibrate.likeness.clusters import Clusters
from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.sketches import Sketch, sketch_of
from calibrate.progress import Stages
from calibrate.set_findings import SetFinding, find_in_set
from cameras.redaction import printable_path
from edge.checking.looks import ImageLooks, looks_of
from edge.checking.model_size import SizedBuildOptions, decide_size
from edge.checking.video_frames import frames_of_video, is_video
from edge.health.measurements import ImageStats, ImageStatsReader
from edge.options import BuildOptions


@dataclass(frozen=True, slots=True, eq=False)
class FoundSet:
    """A folder, before its images are read.

    Attributes:
        dataset: what lies in it.
        findings: what is amiss with the files.
        masks: what is odd with the masks, a line each.
        options: of a build from it, the model's size decided.
        said: what is to be told of the size.
    """

    dataset: Dataset
    findings: tuple[SetFinding, ...]
    masks: tuple[str, ...]
    options: SizedBuildOptions
    said: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What a user should know, a line each."""
        texts = (finding.text for finding in self.findings)
        return (self.dataset.account, *self.dataset.notes, *texts, *self.masks, *self.said)


@dataclass(frozen=True, slots=True, eq=False)
class ReadSet:
    """The images of a set.

    Attributes:
        usable: those that can be used, in their order.
        skipped: the others, with the reason.
        clusters: which of the usable ones show one thing.
        looks: light and sharpness.
    """

    usable: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    clusters: Clusters
    looks: ImageLooks

    @property
    def different(self) -> tuple[Path, ...]:
        """One image of each thing."""
        first = {int(label): index for index, label in reversed([*enumerate(self.clusters.labels)])}
        return tuple(self.usable[first[label]] for label in range(self.clusters.count))

    @property
    def lines(self) -> tuple[str, ...]:
        """What a user should know, a line each."""
        alike = self.clusters.describe()
        return (
            *(f"skipped: {item.reason}" for item in self.skipped),
            *([alike] if alike else []),
            *(finding.text for finding in self.looks.findings),
        )


def find_set(
    images: Path | Sequence[Path], *, options: BuildOptions, backbone: Backbone
) -> FoundSet:
    """Find the images of folders and videos, and the size of a model for them.

    Raises:
        DatasetError, ImageError, ParseError, ValueError: bad input.
    """
    said, given = list[str](), [images] if isinstance(images, Path) else images
    folders = [frames_of_video(path, say=said.append) if is_video(path) else path for path in given]
    dataset = Dataset.of_several([dataset_from_folder(folder) for folder in folders])
    sized = decide_size(options, backbone=backbone, images=dataset.train, say=said.append)
    findings = find_in_set(dataset.train, bit_depth=options.bit_depth)
    masks = check_masks(dataset.test)
    return FoundSet(dataset, findings, masks, sized, tuple(said))


def shown_images(images: Path | Sequence[Path]) -> str:
    """Folders and videos as a person would give them."""
    given = [images] if isinstance(images, Path) else images
    return " ".join(map(printable_path, given))


def read_set(found: FoundSet, stages: Stages) -> ReadSet:
    """Read all good images of a set once.

    Raises:
        ImagesError: too many of them cannot be used.
    """
    options = found.options
    reader, sketches, stats = ImageStatsReader(options.size), list[Sketch](), list[ImageStats]()

    def see(image: Image) -> None:
        sketches.append(sketch_of(image))
        stats.append(reader.read(image))

    with stages.stage("images"):
        usable, skipped = usable_images(
            found.dataset.train, size=options.size, roi=options.roi, see=see
        )
    with stages.stage("likeness"):
        clusters = clusters_of_sketches(sketches)
    return ReadSet(usable, skipped, clusters, looks_of(usable, stats))
