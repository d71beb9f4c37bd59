"""What a manifest says of its score and of held-out scores fits together, or is refused."""

from __future__ import annotations

import pytest
from bundle_files import manifest
from pydantic import ValidationError

from engines.score_rule import MAXIMUM
from engines.threshold_records import MAX_KEPT

TERM = {"count": 1, "gain": 1.0, "offset": 0.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"held_out": {"images": 1, "highest": (0.2, 0.1)}}, "2 scores are kept of 1 images"),
        ({"held_out": {"images": 3, "highest": (0.2, 0.1)}}, "2 scores are kept of 3 images"),
        ({"held_out": {"images": 2, "highest": (0.1, 0.2)}}, "the highest score does not"),
        ({"held_out": {"images": 2, "highest": ()}}, "at least 1 item"),
        ({"score_kind": "top"}, "lacks its score_shares"),
        ({"score_kind": "raw", "score_shares": MAXIMUM}, "'raw' has no score_shares"),
        ({"score_kind": "top", "score_shares": {"terms": ()}}, "at least 1 item"),
        (
            {"score_kind": "top", "score_shares": {"terms": ({**TERM, "count": 0},)}},
            "terms.0.count",
        ),
        ({"score_kind": "top", "score_shares": {"terms": ({**TERM, "gain": -1},)}}, "0.gain"),
        ({"score_kind": "top", "score_shares": {"terms": (TERM,), "stride": 65}}, "stride"),
        ({"pixel_threshold": float("nan")}, "pixel_threshold"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, said) -> None:
    with pytest.raises(ValidationError, match=said):
        manifest(**changes)


def test_of_very_many_scores_the_highest_are_kept() -> None:
    """Equal scores are in order, and images beyond those that are kept are no contradiction."""
    record = {"images": MAX_KEPT + 9, "highest": (0.5,) * MAX_KEPT}
    kept = manifest(held_out=record).held_out
    assert kept is not None and len(kept.highest) == MAX_KEPT
