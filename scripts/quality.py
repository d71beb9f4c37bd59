"""Measure what an inspector is worth at its defaults, on any sets of labelled images.

    python scripts/quality.py FOLDER... --seeds 3 --results quality.jsonl
    python scripts/quality.py FOLDER... --good 20 --draws 5 --results few.jsonl
    python scripts/quality.py --table quality.jsonl few.jsonl

A set is built once a seed, all other options at their defaults, and each build's figures are
appended to the results as they come; what stands there already is not measured again. The table
is Markdown: mean and spread of the seeds, false rejects and escapes at the default threshold,
those at which the test images' own curve rejects .5 and 3 % of the good ones, and what others
publish of the same set. Labels decide nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from calibrate.dataset import dataset_from_folder
from edge.building.build import build
from edge.building.built import Built
from edge.options import BuildOptions
from engines.engine import Precision

RATES = (0.005, 0.03)  # of the test images' own curve
PEERS = {
    "bottle": "anomalib PatchCore 10 %, ResNet-18: 1.000 / .983",
    "magnetic_tile": "anomalib PaDiM, ResNet-18: .892 / .731",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One build and its figures; scores are lost, counts stay.

    Attributes:
        name, seed, good_used: the set, the seed of the build, good images learnt from.
        precision: of the graph.
        image_auroc, pixel_auroc: on all labelled images; None where undefined.
        good, defects: labelled images.
        false_rejects, escapes: at the default threshold.
        curve: for each of `RATES`, false rejects and escapes at the lowest threshold of the test
            images' own curve that rejects no more good ones.
        drawn_passed: share of drawn defects that pass.
        outlook: what the build says of them.
        flips: verdicts that the precision changes.
        size: width and height of the model in px.
        seconds: of the build.
    """

    name: str
    seed: int
    good_used: int
    precision: str
    image_auroc: float | None
    pixel_auroc: float | None
    good: int
    defects: int
    false_rejects: int
    escapes: int
    curve: tuple[tuple[int, int], ...]
    drawn_passed: float | None
    outlook: str
    flips: int
    size: tuple[int, int]
    seconds: float

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What is not measured twice."""
        return (self.name, self.seed, self.good_used, self.precision)


def main() -> None:
    """Measure, or print the table of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="*", type=Path, help="sets of labelled images")
    parser.add_argument("--seeds", type=int, default=3, help="number of builds of each set")
    parser.add_argument("--good", type=int, help="good images to draw; all without")
    parser.add_argument("--draws", type=int, default=5, help="number of draws with --good")
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp16")
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--table", nargs="+", type=Path, help="results to print, nothing is built")
    given = parser.parse_args()
    if given.table:
        print(table([one for path in given.table for one in read_results(path)]))
        return
    known = {one.key for one in read_results(given.results)}
    for folder in given.folders:
        for seed in range(given.draws if given.good else given.seeds):
            images = len(dataset_from_folder(folder).train)
            used = min(given.good or images, images)
            if (folder.name, seed, used, given.precision) in known:
                continue
            found = measure(folder, seed=seed, good=given.good, precision=given.precision)
            with given.results.open("a") as lines:
                lines.write(json.dumps(asdict(found)) + "\n")
            print(found, flush=True)


def read_results(path: Path) -> list[Measurement]:
    """What was measured before; nothing if there is no such file."""
    if not path.exists():
        return []
    return [Measurement(**json.loads(line)) for line in path.read_text().splitlines()]


def measure(folder: Path, *, seed: int, good: int | None, precision: Precision) -> Measurement:
    """Build a set once and take its figures."""
    with tempfile.TemporaryDirectory() as temporary:
        images = folder if good is None else draw_good(folder, Path(temporary), good, seed=seed)
        options = BuildOptions(seed=seed, precision=precision)
        built = build(images, Path(temporary, f"{folder.name}.edge"), options=options)
    return measurement_of(folder.name, built, seed=seed)


def draw_good(folder: Path, target: Path, count: int, *, seed: int) -> Path:
    """The set with so many of its good images, drawn at random."""
    images = dataset_from_folder(folder).train
    chosen = np.random.default_rng(seed).choice(len(images), count, replace=False)
    made = target / folder.name
    (made / "train" / "good").mkdir(parents=True)
    for index in sorted(chosen):
        shutil.copy(images[index], made / "train" / "good")
    for other in ("test", "ground_truth"):
        if (folder / other).is_dir():
            (made / other).symlink_to((folder / other).resolve())
    return made


def measurement_of(name: str, built: Built, *, seed: int) -> Measurement:
    """The figures of a build on its labelled images."""
    measured, manifest = built.measured, built.bundle.manifest
    if measured is None:
        raise SystemExit(f"{name}: no labelled images; lay them out as test/good and test/DEFECT")
    figures, drawn = measured.evaluation, manifest.drawn_defects
    height, width = manifest.size
    return Measurement(
        name=name,
        seed=seed,
        good_used=manifest.images.used,
        precision=manifest.precision,
        image_auroc=figures.image_auroc,
        pixel_auroc=figures.pixel_auroc,
        good=figures.good_images,
        defects=figures.defect_images,
        false_rejects=figures.false_rejects,
        escapes=figures.escapes,
        curve=tuple(curve_point(measured.good, measured.defects, rate) for rate in RATES),
        drawn_passed=1 - drawn.found / drawn.drawn if drawn else None,
        outlook=drawn.outlook if drawn else "",
        flips=max((one.flips for one in manifest.parity.engines), default=0)
        if manifest.parity
        else 0,
        size=(width, height),
        seconds=round(built.seconds, 1),
    )


def curve_point(good: Sequence[float], defects: Sequence[float], rate: float) -> tuple[int, int]:
    """False rejects and escapes just above the good image that the rate leaves out first."""
    ranked = np.sort(good)[::-1]
    limit = ranked[math.floor(len(ranked) * rate)]
    return int((ranked > limit).sum()), int((np.asarray(defects) <= limit).sum())


def table(results: Iterable[Measurement]) -> str:
    """All measurements as Markdown, a row for each set and number of good images."""
    groups: dict[tuple[str, int, str], list[Measurement]] = {}
    for one in results:
        groups.setdefault((one.name, one.good_used, one.precision), []).append(one)
    names = (
        "set, good images, size",
        "image AUROC",
        "pixel AUROC",
        "false rejects",
        "escapes",
        "curve at .5 %",
        "at 3 %",
        "drawn defects that pass",
        "flips",
        "others publish",
    )
    rows = [row(group) for _, group in sorted(groups.items())]
    lines = [names, ("---",) * len(names), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{summary([one for group in groups.values() for one in group])}"


def row(group: Sequence[Measurement]) -> tuple[str, ...]:
    """One set's row: means, and in brackets the lowest and the highest."""
    first = group[0]
    others, outlooks = PEERS.get(first.name, ""), sorted({one.outlook for one in group})
    return (
        f"{first.name}, {first.good_used} good, {first.size[0]}x{first.size[1]} {first.precision}",
        spread([one.image_auroc for one in group], 4),
        spread([one.pixel_auroc for one in group], 4),
        f"{spread([one.false_rejects for one in group], 1)} of {first.good}",
        f"{spread([one.escapes for one in group], 1)} of {first.defects}",
        *(
            f"{spread([one.curve[at][0] for one in group], 1)}; "
            f"{spread([one.curve[at][1] for one in group], 1)}"
            for at in range(len(RATES))
        ),
        f"{spread([one.drawn_passed for one in group], 2)}: {' or '.join(outlooks)}",
        str(max(one.flips for one in group)),
        others,
    )


def spread(values: Sequence[float | None], digits: int) -> str:
    """The mean, with the lowest and the highest where they differ; a dash without any."""
    found = [value for value in values if value is not None]
    if not found:
        return "–"
    low, high = f"{min(found):.{digits}f}", f"{max(found):.{digits}f}"
    mean = f"{np.mean(found):.{digits}f}"
    return mean if low == high else f"{mean} ({low}…{high})"


def summary(results: Sequence[Measurement]) -> str:
    """The mean over sets, and how far drawn defects tell what real ones do."""
    by_set: dict[str, list[Measurement]] = {}
    for one in results:
        by_set.setdefault(f"{one.name} {one.good_used}", []).append(one)
    auroc = [np.mean([m.image_auroc or np.nan for m in group]) for group in by_set.values()]
    text = f"Mean image AUROC over {len(by_set)} sets: {np.mean(auroc):.4f}."
    told = [
        (
            np.mean([m.drawn_passed for m in group if m.drawn_passed is not None]),
            np.mean([m.escapes / m.defects for m in group]),
        )
        for group in by_set.values()
        if any(m.drawn_passed is not None for m in group)
    ]
    if len(told) > 2:
        rank = spearmanr(*zip(*told, strict=True)).statistic
        text += f" Drawn and real defects that pass: rank correlation {rank:.2f}."
    return text


if __name__ == "__main__":
    main()
