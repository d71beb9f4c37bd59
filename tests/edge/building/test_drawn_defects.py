"""What the build says of defects that it draws: found or missed, and that it is blind."""

from __future__ import annotations

import json
import re
from functools import partial

import numpy as np
import pytest

from calibrate.images import evenly
from calibrate.learnt import HeldOutTrial, LearntInspector
from calibrate.progress import Stages
from edge.building.drawn_defects import MAX_DEFECTS, find_drawn_defects
from edge.building.drawn_report import describe_drawn, detection_section
from edge.checking.model_size import SizedBuildOptions
from edge.inspection.verdict import DecisionSettings
from edge.plans import bundle_info
from edge.result import Verdict
from engines.bundle import Bundle
from engines.errors import EngineError


class Looker:
    """An engine that sees what is far from the mean of the pictures of a batch."""

    def __init__(self, blind: bool) -> None:
        self.blind = blind

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        apart = np.abs(images.astype(np.float32) - np.median(images, axis=0)).max(axis=3) / 255
        maps = apart * (0 if self.blind else 1) + np.float32(0.01)
        return maps, maps.max(axis=(1, 2))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple:
    """The same part ten times, with noise of a few levels; 120 x 90 px."""
    import cv2

    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    part = np.clip(cv2.resize(rng.normal(120, 20, (9, 12, 3)), (120, 90)), 0, 255)
    for index in range(10):
        noisy = np.clip(part + rng.normal(0, 2, part.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noisy)
    return tuple(sorted(folder.iterdir()))


def learnt_from(good) -> LearntInspector:
    return LearntInspector(
        model=b"",
        prototypes=1,
        held_out=np.full(len(good), 0.05, np.float32),
        held_out_files=good,
        peaks=np.full(len(good), 0.05, np.float32),
        trials=(HeldOutTrial(b"", b"", good),),
    )


def find(good, *, blind: bool, threshold: float = 0.08, inspector=None, **changes):
    said: list[str] = []
    found = find_drawn_defects(
        inspector or learnt_from(good),
        settings=DecisionSettings(threshold, min_area=changes.get("min_area", 0)),
        options=SizedBuildOptions(**{"size": (48, 64), **changes}),
        open_engine=lambda _model, _precision: Looker(blind),
        stages=Stages(),
        say=said.append,
    )
    return found, said


def test_an_inspector_that_is_blind_on_purpose_warns(good) -> None:
    found, said = find(good, blind=True)
    assert found.record.found == 0
    assert found.record.smallest is None
    assert said == [f"warning: {found.record.warning}"]
    assert "blind" in said[0]
    assert {row.verdict for row in found.rows} == {Verdict.OK}
    assert "of no size" in describe_drawn(found.record)


def test_one_that_sees_does_not(good) -> None:
    found, said = find(good, blind=False, scale=0.5)
    record = found.record
    assert said == []
    assert record.outlook != "blind"
    assert record.images == 10
    assert record.drawn == 60
    assert record.shorter_side == 90
    assert record.found > 0.5 * record.drawn
    assert record.auroc > 0.75
    assert re.search(r"from \d+ px \(\S+ mm\)", describe_drawn(record))
    assert {row.verdict for row in found.rows} == {Verdict.OK, Verdict.NG}
    assert all(row.mask.any() and row.image.shape == (48, 64, 3) for row in found.rows)


def test_the_same_seed_finds_the_same_and_another_draws_others(good) -> None:
    first, again, other = (find(good, blind=False, seed=seed)[0].record for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_defects_are_drawn_into_what_is_inspected(good) -> None:
    assert find(good, blind=False, roi=(20, 10, 60, 50))[0].record.shorter_side == 50
    assert find(good, blind=False, roi=(20, 10, 30, 20)) == (None, [])


def test_the_smallest_area_counts_as_it_does_on_the_line(good) -> None:
    assert find(good, blind=False, min_area=100_000)[0].record.found == 0


def test_an_image_that_is_rejected_anyway_proves_nothing(good) -> None:
    learnt = learnt_from(good)
    learnt.held_out[3] = 0.9
    found, _ = find(good, blind=True, inspector=learnt)
    assert found.record.images == 9
    assert find(good, blind=True, threshold=0.01) == (None, [])


def test_large_pictures_are_told_in_their_own_px(good) -> None:
    record = find(good, blind=False, size=(16, 16))[0].record
    assert record.shorter_side == 90
    assert find(good, blind=False, size=(16, 16), min_area=90 * 120)[0].record.found == 0
    assert find(good, blind=False, size=(16, 16), min_area=2)[0].record.found > 0


@pytest.mark.parametrize(
    ("size", "changes", "says"),
    [
        ((45, 16), {}, "2 x 2 px of a picture become one: small defects may be lost; --tiles 2x2"),
        ((16, 64), {}, ""),  # 6 x 2 px become one: the model sees as fine as 2 px across
        ((16, 16), {}, ""),  # was said when the size was decided
        ((36, 16), {"tiles": (2, 2)}, "--tiles 4x4"),
        ((24, 120), {}, ""),
    ],
)
def test_tiles_are_advised_once_and_by_both_sides(good, size, changes, says) -> None:
    """The pictures are 120 x 90 px."""
    _, said = find(good, blind=True, size=size, **changes)
    assert len(said) == 1 + bool(says)
    assert says in said[-1]


def test_a_build_with_many_images_scores_few_enough(good) -> None:
    found, _ = find(tuple(evenly(good * 7, 64)), blind=False)
    assert 2 * 64 <= found.record.drawn <= MAX_DEFECTS


def test_an_engine_that_fails_ends_the_build(good) -> None:
    def refuse(_model: bytes, _precision: str) -> Looker:
        raise EngineError("no engine")

    with pytest.raises(EngineError):
        find_drawn_defects(
            learnt_from(good),
            settings=DecisionSettings(1.0),
            options=SizedBuildOptions(size=(48, 64)),
            open_engine=refuse,
            stages=Stages(),
            say=partial(pytest.fail),
        )


def test_the_section_has_a_row_for_each_size(good) -> None:
    section = detection_section(find(good, blind=False)[0].record)
    assert len(section.table.rows) == len(section.sizes_px) == 5
    assert section.sizes_px == pytest.approx([1.8, 3.6, 7.2, 14.4, 28.8])
    assert section.clear[-1] == 1.0
    counts = [cell for row in section.table.rows for cell in row[1:6] if cell]
    assert sum(int(cell.split("/")[1]) for cell in counts) == 60


def test_the_bundle_its_report_and_its_facts_tell(built) -> None:
    record = Bundle.open(built).manifest.drawn_defects
    page = (built / "report.html").read_text()
    said = json.loads(json.dumps(bundle_info(built)["drawn_defects"], allow_nan=False))
    assert record is not None
    assert record.drawn == said["drawn"] > 50
    assert describe_drawn(record) in page
    assert "share found by size" in page
    assert "Drawn defects found, by size" in page


def test_a_bundle_without_the_record_still_loads(bundle) -> None:
    manifest = Bundle.open(bundle).manifest
    older = manifest.model_dump(mode="json", exclude={"drawn_defects"})
    assert type(manifest).model_validate(older).drawn_defects is None
