import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from calibrate.metrics import PixelTally, best_f1, image_auroc


def tally_of(maps, masks):
    tally = PixelTally()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        tally.add(np.asarray(anomaly_map, dtype=np.float32), mask=np.asarray(mask, dtype=bool))
    return tally


def stepped_aupro(maps, masks, limit):
    """AUPRO by its definition: step through every threshold, then the trapezoid rule."""
    regions = []
    for index, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(index, labels == number) for number in range(1, count + 1)]
    sound = np.concatenate([a[~m] for a, m in zip(maps, masks, strict=True)])
    curve = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([a.ravel() for a in maps]))[::-1]:
        overlap = np.mean([(maps[i][region] >= threshold).mean() for i, region in regions])
        curve.append(((sound >= threshold).mean(), overlap))
    fpr, pro = np.array(curve).T
    at_limit = np.flatnonzero(fpr > limit)
    if at_limit.size:
        cut = at_limit[0]
        share = (limit - fpr[cut - 1]) / (fpr[cut] - fpr[cut - 1])
        end = pro[cut - 1] + share * (pro[cut] - pro[cut - 1])
        fpr, pro = np.append(fpr[:cut], limit), np.append(pro[:cut], end)
    return (
        np.trapezoid(pro, fpr) / limit if hasattr(np, "trapezoid") else np.trapz(pro, fpr) / limit
    )


@st.composite
def scored_images(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([2, 5, 50, 100_000]))
    count, side = draw(st.integers(1, 4)), draw(st.integers(3, 12))
    masks = rng.random((count, side, side)) < draw(st.sampled_from([0.05, 0.2, 0.6]))
    masks[0, 0, 0], masks[0, 1, 1] = True, False
    maps = (rng.integers(0, levels, masks.shape) / levels + 0.3 * masks).astype(np.float32)
    return maps, masks


@settings(max_examples=60, deadline=None)
@given(scored_images(), st.sampled_from([0.05, 0.3, 1.0]))
def test_pixel_figures_agree_with_their_definitions(images, limit):
    maps, masks = images
    figures = tally_of(maps, masks).figures(limit=limit)
    truth, scores = masks.ravel(), maps.ravel()
    assert figures.auroc.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert figures.average_precision.value == pytest.approx(
        average_precision_score(truth, scores), abs=1e-6
    )
    assert figures.aupro.value == pytest.approx(stepped_aupro(maps, masks, limit), abs=1e-6)


def test_aupro_counted_by_hand():
    # Ten sound pixels 0..9; a region of one pixel above all, one of two pixels: 8.5 and below all.
    # Up to FPR 0.3: the first region is found everywhere, half of the second from FPR 0.1 on.
    sound = np.arange(10, dtype=np.float32)
    row = np.concatenate([sound, [20.0, 0.5, 8.5, -1.0]])[None]
    mask = np.zeros((1, 14), dtype=bool)
    mask[0, 10] = mask[0, 12] = mask[0, 13] = True
    row[0, 11] = 0.5  # an eleventh sound pixel keeps the regions apart
    expected = (0.3 + 0.5 * (0.3 - 1 / 11)) / 2 / 0.3
    assert tally_of([row], [mask]).figures().aupro.value == pytest.approx(expected)


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((20, 20), dtype=bool)
    mask[:10, :10] = mask[15, 15] = True
    only_large = np.where(mask, 1.0, np.linspace(0.0, 0.5, 400).reshape(20, 20))
    only_large[15, 15] = 0.0
    figures = tally_of([only_large], [mask]).figures()
    assert figures.auroc.value > 0.98
    assert figures.aupro.value == pytest.approx(0.5)


def test_regions_join_across_a_corner():
    mask = np.eye(4, dtype=bool)
    anomaly_map = np.diag([1.0, 1.0, 1.0, -1.0])
    # One region of which three quarters are found; four regions would score the same 3/4, so
    # a further image with one region found completely tells them apart: 7/8 against 4/5.
    other = np.zeros((4, 4), dtype=bool)
    other[0, 0] = True
    figures = tally_of([anomaly_map, other * 1.0], [mask, other]).figures()
    assert figures.aupro.value == pytest.approx(7 / 8, abs=1e-6)


def test_pixel_figures_that_are_undefined_say_why():
    sound = np.zeros((4, 4), dtype=bool)
    for figure in (tally_of([sound], [sound]).figures().aupro, PixelTally().figures().auroc):
        assert figure.value is None
        assert figure.reason == "no image has a mask with a defective pixel"
    all_defective = tally_of([sound], [~sound]).figures()
    assert all_defective.average_precision.value is None
    assert "no pixel is sound" in all_defective.auroc.reason


def test_figures_can_be_asked_for_twice_and_grow():
    rng = np.random.default_rng(1)
    maps, masks = rng.random((4, 16, 16)), rng.random((4, 16, 16)) < 0.3
    tally = tally_of(maps[:2], masks[:2])
    assert tally.figures() == tally.figures()
    for anomaly_map, mask in zip(maps[2:], masks[2:], strict=True):
        tally.add(anomaly_map, mask=mask)
    assert tally.figures() == tally_of(maps, masks).figures()


@pytest.mark.parametrize(
    ("anomaly_map", "mask"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5), dtype=bool)),
        (np.zeros(4), np.zeros(4, dtype=bool)),
        (np.full((4, 4), np.nan), np.zeros((4, 4), dtype=bool)),
        (np.full((4, 4), np.inf), np.ones((4, 4), dtype=bool)),
    ],
)
def test_maps_that_cannot_count_are_refused(anomaly_map, mask):
    with pytest.raises(ValueError, match=r"anomaly map"):
        PixelTally().add(anomaly_map, mask=mask)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_limit_is_checked(limit):
    with pytest.raises(ValueError, match="limit"):
        PixelTally().figures(limit=limit)


def test_image_auroc_counted_by_hand():
    # Pairs (good, defect): 3 of 4 in order, one tie counts half.
    assert image_auroc([1, 2, 2, 3], defects=[False, False, True, True]).value == 0.875


@pytest.mark.parametrize(
    ("defects", "reason"),
    [([], "no images"), ([True, True], "no good images"), ([False], "no defect images")],
)
def test_one_class_is_undefined(defects, reason):
    scores = [0.5] * len(defects)
    assert image_auroc(scores, defects=defects).reason == reason
    best = best_f1(scores, defects=defects)
    assert (best.value.value, best.value.reason, best.threshold) == (None, reason, None)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="2 scores and 1 labels"):
        image_auroc([1, 2], defects=[True])
    with pytest.raises(ValueError, match="not finite"):
        best_f1([1, float("nan")], defects=[True, False])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32), st.booleans()), min_size=2, max_size=40
    ).filter(lambda pairs: 0 < sum(defect for _, defect in pairs) < len(pairs))
)
def test_best_f1_is_the_best_and_its_threshold_reaches_it(pairs):
    scores, defects = np.array([score for score, _ in pairs]), [defect for _, defect in pairs]
    best = best_f1(list(scores), defects=defects)
    every = [f1_score(defects, scores >= cut, zero_division=0) for cut in np.unique(scores)]
    assert best.value.value == pytest.approx(max(every))
    assert f1_score(defects, scores >= best.threshold) == pytest.approx(best.value.value)
    if best.threshold > scores.min():
        assert f1_score(defects, scores > best.threshold) == pytest.approx(best.value.value)
