"""A manifest whose seal fits and whose numbers are absurd is refused when the bundle is opened."""

from __future__ import annotations

import json

import pytest
from bundle_files import BASE

from engines import manifest_file
from engines.bundle import Bundle
from engines.errors import BundleError

TERM = {"count": 1, "gain": 1.0, "offset": 0.0}
POINT = {"threshold": 0.5, "held_out_rejects": 0, "held_out_rate": 0.0}
CELL = {"size": 0.1, "kind": "darker", "contrast": 2.0, "drawn": 5, "found": 5}
DRAWN = {"threshold": 0.5, "images": 5, "shorter_side": 99.0, "cells": [CELL], "outlook": "fine"}
CHANGE = {"changed": "2026-11-22T18:00:00Z", "setting": "threshold", "old": 0.5, "new": 0.25}
FORM = {"metric": "cosine", "prototypes": 9, "auroc": 1, "error": 0, "found": 1, "good_score": 1}
TUNING = {"images": 5, "drawn": 5, "forms": [FORM], "chosen": 0, "reason": "why"}


def by_shares(**changes: object) -> dict[str, object]:
    return {"score_kind": "top", "score_shares": {"terms": [{**TERM, **changes}]}}


def threshold(**changes: object) -> dict[str, object]:
    return {"threshold": {**BASE["threshold"], **changes}}


def drawn(**changes: object) -> dict[str, object]:
    return {"drawn_defects": {**DRAWN, **changes}}


ABSURD = {
    "a score of more values than memory holds": (by_shares(count=10**9), "count"),
    "a score of more values than the map has": (by_shares(count=64 * 64 + 1), "a map that has"),
    "a unit that is 0 as a float32": (by_shares(gain=1e-300), "gain"),
    "a unit beyond all": (by_shares(gain=1e300), "gain"),
    "a unit that turns the score round": (by_shares(gain=-1.0), "gain"),
    "a unit that is no number": (by_shares(gain=float("nan")), "gain"),
    "an offset beyond all": (by_shares(offset=-1e300), "offset"),
    "too many terms": (
        {"score_kind": "top", "score_shares": {"terms": [TERM] * 17}},
        "terms",
    ),
    "a threshold that nothing reaches": (threshold(value=1e300), "threshold.value"),
    "a threshold that is no number": (threshold(value=float("nan")), "threshold.value"),
    "an infinite threshold": (threshold(value=float("inf")), "threshold.value"),
    "a rate below 0": (threshold(false_rejects_asked=-0.5), "false_rejects_asked"),
    "more held-out images than memory holds": (
        {"held_out": {"images": 10**12, "highest": [0.5] * 4096}},
        "held_out.images",
    ),
    "a held-out score beyond float32": (
        {"held_out": {"images": 2, "highest": [1e300, 0.5]}},
        "held_out.highest.0",
    ),
    "operating points without end": ({"operating_points": [POINT] * 1001}, "operating_points"),
    "more rejects than all": (
        {"operating_points": [{**POINT, "held_out_rate": 1.5}]},
        "held_out_rate",
    ),
    "fewer escapes than none": ({"operating_points": [{**POINT, "escapes": -1}]}, "escapes"),
    "changes without end": ({"changes": [CHANGE] * 2001}, "changes"),
    "a setting that no float holds": ({"changes": [{**CHANGE, "old": 10**400}]}, "changes.0.old"),
    "a pixel threshold beyond float32": ({"pixel_threshold": -1e39}, "pixel_threshold"),
    "a smallest area below 0": ({"min_area": -1}, "min_area"),
    "a model larger than any": ({"size": [10**9, 10**9]}, "size.0"),
    "tiles without end": ({"tiles": [10**6, 1]}, "tiles.0"),
    "prototypes without end": ({"prototypes": 10**12}, "prototypes"),
    "a region larger than any picture": (
        {"roi": {"x": 0, "y": 0, "width": 10**10, "height": 1}},
        "roi.width",
    ),
    "more found than drawn": (drawn(cells=[{**CELL, "found": 6}]), "6 defects are found of 5"),
    "nothing drawn": (drawn(cells=[]), "cells"),
    "a defect larger than its picture": (drawn(smallest=2.0), "smallest"),
    "pictures larger than any": (drawn(shorter_side=1e12), "shorter_side"),
    "an area above 1": (drawn(auroc=1.5), "auroc"),
    "a form that was not tried": ({"tuning": {**TUNING, "chosen": 1}}, "form 1 of 1"),
    "an error below 0": ({"tuning": {**TUNING, "forms": [{**FORM, "error": -1}]}}, "error"),
    "a golden score beyond float32": (
        {"golden": [{**BASE["golden"][0], "score": 1e39}]},
        "golden.0.score",
    ),
    "a figure that is no number": ({"figures": {"image_auroc": float("nan")}}, "image_auroc"),
    "time that runs backwards": ({"seconds": -1.0}, "seconds"),
}


def reseal(bundle: Bundle, changes: dict[str, object]) -> None:
    path = bundle.path / manifest_file.MANIFEST
    content = {**json.loads(path.read_text()), **changes}
    content.pop(manifest_file.SEAL)
    path.write_text(json.dumps({**content, manifest_file.SEAL: manifest_file._seal(content)}))


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_values_are_one_line(bundle, name) -> None:
    changes, says = ABSURD[name]
    reseal(bundle, changes)
    with pytest.raises(BundleError, match="the bundle is damaged") as caught:
        Bundle.open(bundle.path)
    said = str(caught.value)
    assert says in said and str(bundle.path) in said
    assert "\n" not in said and len(said) < 400


def test_what_is_unusual_and_possible_still_loads(bundle) -> None:
    """Limits refuse nonsense; no bundle that anybody built."""
    reseal(
        bundle,
        {
            **by_shares(count=64 * 64, gain=1e-3, offset=-1e3),
            **threshold(value=-0.5, moved=-0.3),
            **drawn(auroc=None, smallest=None),
            "pixel_threshold": -1.0,
            "changes": [CHANGE, {**CHANGE, "setting": "roi", "old": None}],
            "operating_points": [POINT] * 20,
            "tuning": {**TUNING, "forms": []},
        },
    )
    found = Bundle.open(bundle.path).manifest
    assert found.score_rule.counts == (64 * 64,)
    assert found.threshold.value == -0.5
