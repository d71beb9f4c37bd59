"""Parity: what counts as a flip and as an error, and which engines and limits apply."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.precision.parity import (
    ParityReport,
    ParityTerms,
    References,
    agreeing_threshold,
    compare_with_fp32,
    engines_beside,
    engines_to_compare,
    margin_below,
)
from calibrate.precision.trials import Trial, sample
from engines.errors import EngineError
from engines.parity_record import LimitsRecord

THRESHOLD = 0.5
MARGIN = 0.4


class Recorded:
    """An engine whose scores are written down in the "graph": one number an image, by its pixel."""

    def __init__(self, model: bytes, name: str, precision: str) -> None:
        self.name, self.device, self.outputs, self.size = name, "paper", ("map", "score"), (4, 4)
        self.executes = precision
        self._scores = np.array(json.loads(model.decode()), np.float32)

    def infer(self, images):
        scores = self._scores[images[:, 0, 0, 0]]
        return np.broadcast_to(scores[:, None, None], (len(scores), 4, 4)).copy(), scores

    def close(self) -> None: ...

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None: ...


def graph(*scores: float) -> bytes:
    return json.dumps(scores).encode()


def trial(exact, built, *, defective=None) -> Trial:
    names = tuple(f"{index}.png" for index in range(len(exact)))
    images = np.zeros((len(exact), 4, 4, 3), np.uint8)
    images += np.arange(len(exact), dtype=np.uint8)[:, None, None, None]
    labels = None if defective is None else np.array(defective, bool)
    return Trial(graph(*exact), graph(*built), images, names, labels)


def limits(flips: int = 0, score_error: float = 0.1) -> LimitsRecord:
    return LimitsRecord(flips=flips, score_error=score_error)


def terms(**changes) -> ParityTerms:
    return replace(ParityTerms("int8", THRESHOLD, MARGIN, limits()), **changes)


class Opened:
    """Opens recorded engines, and remembers which."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, str]] = []

    def __call__(self, name: str, model: bytes, precision: str) -> Recorded:
        self.calls.append((name, model, precision))
        return Recorded(model, name, precision)


def compared(*trials: Trial, engines=("openvino",), **changes) -> ParityReport:
    opened = Opened()
    return compare_with_fp32(
        trials,
        references=References(opened),
        engines=engines,
        open_engine=opened,
        terms=terms(**changes),
    )


def test_equal_scores_are_no_flip_and_no_error() -> None:
    report = compared(trial([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]))
    (found,) = report.record.engines
    assert (found.flips, found.score_error.max, found.map_error.max) == (0, 0.0, 0.0)
    assert report.problem is None
    assert (report.record.good, report.record.labelled) == (3, 0)


def test_the_threshold_itself_is_a_reject_on_both_sides() -> None:
    """An inspector's verdict is NG from the threshold on: 0.5 against just below it is a flip."""
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    report = compared(trial([0.5, below], [below, 0.5]))
    assert report.record.engines[0].flips == 2
    assert report.record.engines[0].flipped == ("0.png", "1.png")
    assert "2 of 2 verdicts differ from fp32 (0.png, 1.png), 0 may" in str(report.problem)


def test_errors_are_shares_of_the_margin_and_those_of_defects_are_not_limited() -> None:
    labelled = trial([0.2, 0.9], [0.22, 5.0], defective=[False, True])
    (found,) = compared(labelled).record.engines
    assert found.score_error.max == pytest.approx(0.02 / MARGIN, rel=1e-4)
    assert found.defect_score_error is not None
    assert found.defect_score_error.max == pytest.approx(4.1 / MARGIN, rel=1e-4)
    assert compared(labelled).problem is None


def test_too_large_an_error_is_a_problem_without_any_flip() -> None:
    report = compared(trial([0.2], [0.25]))
    assert report.record.engines[0].flips == 0
    assert "off by 0.125 of the margin below the threshold, 0.1 may be" in str(report.problem)
    assert compared(trial([0.2], [0.25]), limits=limits(0, 0.2)).problem is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_problem_whatever_the_limits(value) -> None:
    report = compared(trial([0.2, 0.3], [0.2, value]), limits=limits(1000, 1000.0))
    assert report.record.engines[0].not_finite == 1
    assert "1 of 2 scores are no number" in str(report.problem)
    json.dumps(report.record.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("beside", [frozenset(), frozenset({"second"})])
def test_every_engine_has_to_keep_the_limits_but_those_beside_a_gpu(beside) -> None:
    opened = Opened()

    def by_name(name: str, model: bytes, precision: str) -> Recorded:
        other = graph(0.6) if name == "second" else model
        return opened(name, other, precision)

    report = compare_with_fp32(
        [trial([0.4], [0.4])],
        references=References(opened),
        engines=("first", "second"),
        open_engine=by_name,
        terms=terms(beside=beside),
    )
    assert [found.flips for found in report.record.engines] == [0, 1], "compared, and recorded"
    said = str(report.problems_beside if beside else report.problem)
    assert "on second" in said
    assert (report.problem is None) == report.verdicts_hold() == bool(beside)


def test_bfloat16_of_a_processor_keeps_no_layers_where_a_gpu_inspects() -> None:
    both = ("onnxruntime", "openvino")
    assert engines_beside(both, gpu=True) == {"openvino"}
    assert engines_beside(both, gpu=False) == frozenset()
    assert engines_beside(("openvino",), gpu=True) == frozenset(), "somebody has to decide"


def test_the_change_of_auroc_needs_both_kinds() -> None:
    labelled = trial([0.1, 0.3, 0.4], [0.1, 0.3, 0.2], defective=[False, False, True])
    report = compared(labelled, limits=limits(9, 9.0))
    assert (report.record.auroc, report.record.engines[0].auroc) == (1.0, 0.5)
    assert compared(trial([0.1], [0.1], defective=[True])).record.auroc is None


def test_the_reference_runs_once_in_fp32_however_often_the_build_is_tried() -> None:
    opened = Opened()
    references = References(opened)
    for built in ([0.1], [0.2]):
        compare_with_fp32(
            [trial([0.1], built)],
            references=references,
            engines=("openvino",),
            open_engine=opened,
            terms=terms(),
        )
    assert [call[0::2] for call in opened.calls].count(("onnxruntime", "fp32")) == 1


def test_which_engines_are_compared() -> None:
    assert engines_to_compare("onnxruntime", "fp32") == ()
    assert engines_to_compare("openvino", "fp32") == ("openvino",)
    assert engines_to_compare("openvino", "int8")[0] == "openvino"
    assert "onnxruntime" in engines_to_compare("openvino", "int8")


def test_the_margin_is_never_zero() -> None:
    assert margin_below(0.5, np.array([0.1, 0.2, 0.3], np.float32)) == pytest.approx(0.3)
    assert margin_below(0.2, np.array([0.2, 0.2], np.float32)) > 0


@pytest.mark.parametrize("bad", ["first", "second"])
def test_an_engine_that_fails_beside_the_deployed_one_is_left_out_and_named(bad) -> None:
    def opened(name: str, model: bytes, precision: str) -> Recorded:
        if name == bad:
            raise EngineError("no such device")
        return Recorded(model, name, precision)

    def report() -> ParityReport:
        return compare_with_fp32(
            [trial([0.1], [0.1])],
            references=References(Opened()),
            engines=("first", "second"),
            open_engine=opened,
            terms=terms(),
        )

    if bad == "first":
        with pytest.raises(EngineError, match="no such device"):
            report()
        return
    found = report()
    assert [one.engine for one in found.record.engines] == ["first"]
    assert found.record.not_compared == ("no such device",)


spans = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.floats(0, 0.125, width=32)).map(
        lambda pair: (np.float32(pair[0]).item(), np.float32(pair[0] + pair[1]).item())
    ),
    max_size=30,
)


@given(spans, st.floats(0, 1, width=32), st.floats(0, 0.2), st.integers(0, 3))
def test_the_threshold_moves_to_the_nearest_place_where_verdicts_agree(
    pairs, near, within, flips
) -> None:
    def differing(threshold: np.ndarray) -> np.ndarray:
        lows, highs = np.array(pairs, np.float32).reshape(-1, 2).T[:, :, None]
        return ((lows < threshold) & (threshold <= highs)).sum(axis=0)

    found = agreeing_threshold([pairs], flips=flips, near=near, within=within)
    everywhere = np.linspace(near - within, near + within, 201, dtype=np.float32)
    everywhere = everywhere[np.abs(everywhere.astype(float) - near) <= within]
    calm = np.abs(everywhere[differing(everywhere) <= flips].astype(float) - near)
    if found is None:
        assert not len(calm)
        return
    assert np.float32(found) == found and abs(found - near) <= within
    assert differing(np.array([found], np.float32))[0] <= flips
    assert not len(calm) or abs(found - near) <= calm.min()


def test_an_engine_beside_the_deployed_one_is_compared_on_a_sample() -> None:
    """All verdicts of the deployed engine count; of another one those of 48 images, and it says so.

    Half of them are nearest the threshold, where a verdict is likeliest to differ.
    """
    exact = [index / 200 for index in range(200)]
    built = [*exact[:99], 0.51, *exact[100:]]  # 0.495, the nearest below the threshold of 0.5
    both = ("openvino", "onnxruntime")
    report = compared(
        trial(exact[:150], built[:150]), trial(exact[150:], exact[150:]), engines=both
    )
    assert [one.images for one in report.record.engines] == [200, 200]
    report = compared(
        trial(exact[:150], built[:150]),
        trial(exact[150:], exact[150:], defective=[True] * 50),
        engines=both,
        sampled=True,
    )
    assert [one.images for one in report.record.engines] == [200, 48]
    assert [one.flips for one in report.record.engines] == [1, 1]
    assert [len(one) for one in report.spans] == [200, 48]
    assert not report.verdicts_hold()
    value = agreeing_threshold(report.spans, flips=0, near=0.5, within=0.1)
    assert value is not None and value not in (exact[99], 0.5)


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    count=st.integers(0, 60),
    near=st.floats(-1, 1),
)
def test_a_sample_has_the_nearest_scores_and_each_image_once(sizes, count, near) -> None:
    random = np.random.default_rng(sum(sizes))
    scores = [random.normal(size=size).astype(np.float32) for size in sizes]
    chosen = sample(scores, near=near, count=count)
    assert sum(map(len, chosen)) == min(count, sum(sizes))
    for one, all_of_them in zip(chosen, scores, strict=True):
        assert np.array_equal(one, np.unique(one))
        assert not len(one) or one.max() < len(all_of_them)
    taken = np.concatenate([one[some] for one, some in zip(scores, chosen, strict=True)])
    every = np.sort(np.abs(np.concatenate(scores) - np.float32(near)))
    nearest = np.sort(np.abs(taken - np.float32(near)))[: min(count // 2, len(every))]
    np.testing.assert_array_equal(nearest, every[: len(nearest)])
