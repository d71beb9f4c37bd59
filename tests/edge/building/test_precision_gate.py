"""The gate in a build: what it sees, what it keeps, and what it refuses to ship."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from calibrate.precision.convert import PrecisionError
from calibrate.precision.parity_report import EngineParity, Limits, ParityReport, Spread
from calibrate.progress import Stages
from calibrate.threshold import Threshold, threshold_from_scores
from edge.building import precision_gate
from edge.building.build import Built, Options, build
from edge.building.methods import Taught
from edge.building.precision_gate import Passed, _Gate
from edge.building.report import statement
from engines.bundle import Bundle
from engines.engine import EXACT


def options(**changes) -> Options:
    given = {"precision": "int8", "engine": "onnxruntime", "size": (128, 128), "prototypes": 64}
    return Options(**{**given, **changes})


@pytest.fixture(scope="module")
def free(drawn, tmp_path_factory) -> Built:
    """An int8 build that may differ as it likes. Read-only."""
    output = tmp_path_factory.mktemp("free") / "flange.edge"
    return build(drawn, output, options=options(max_flips=99, max_score_error=99.0))


def largest_error(built: Built) -> float:
    assert built.parity is not None
    return max(found.score_error.max for found in built.parity.engines)


def test_the_gate_sees_held_out_and_labelled_images_on_every_engine(free) -> None:
    report = free.parity
    assert report is not None
    figures = free.bundle.manifest.figures
    assert report.good == 12
    assert report.labelled == figures["good_images"] + figures["defect_images"]
    assert report.engines[0].engine == "onnxruntime"
    assert report.threshold == free.threshold.value
    assert report.kept == () and report.before == ""
    assert report.engines[0].score_error.max > 0, "int8 is not fp32"
    assert report.auroc is not None


def test_what_it_saw_is_in_the_manifest_the_json_and_the_report(free) -> None:
    record = Bundle.open(free.bundle.path).manifest.parity
    assert record is not None and free.parity is not None
    said = json.loads(json.dumps(free.to_json(), allow_nan=False))["parity"]
    assert said == record.model_dump(mode="json") == json.loads(json.dumps(free.parity.to_json()))
    page = (free.bundle.path / "report.html").read_text(encoding="utf-8")
    assert "int8 against fp32: 12 held-out good" in page


def test_over_the_limit_layers_are_kept_until_it_holds(free, drawn, tmp_path) -> None:
    limit = 0.6 * largest_error(free)
    told: list[str] = []
    made = build(
        drawn,
        tmp_path / "kept.edge",
        options=options(max_flips=99, max_score_error=limit),
        say=told.append,
    )
    report = made.parity
    assert report is not None and report.problem is None
    assert largest_error(made) <= limit < largest_error(free)
    assert report.kept and "may be" in report.before
    assert sum(block.cost for block in report.kept) <= 0.5
    assert [line for line in told if "looking for the layers that matter" in line]
    assert told[-1].startswith("kept in higher precision: ")
    graph = onnx.load(made.bundle.path / "model.onnx").graph
    nodes = {node.name.removeprefix(EXACT): node for node in graph.node}
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    for block in report.kept:
        convolutions = [nodes[name] for name in block.nodes if nodes[name].op_type == "Conv"]
        assert convolutions
        assert not any(node.input[1] in dequantised for node in convolutions)
    page = (made.bundle.path / "report.html").read_text(encoding="utf-8")
    assert "Kept in higher precision" in page
    manifest = Bundle.open(made.bundle.path).manifest
    assert manifest.parity is not None and manifest.parity.kept[0].nodes == report.kept[0].nodes


def test_what_cannot_be_had_is_refused_and_the_old_bundle_stays(
    drawn, bundle, run, small, snapshot
) -> None:
    before = snapshot(bundle)
    words = ("--precision", "int8", *small, "--max-score-error", "1e-9", "--output", bundle)
    outcome = run("build", drawn, *words)
    assert outcome.code == 2
    line = [text for text in outcome.err.splitlines() if text.startswith("edge: int8")][-1]
    assert "also with half of the work in higher precision; build with --precision" in line
    assert snapshot(bundle) == before


def test_limits_that_make_no_sense_are_refused_before_the_work(good, tmp_path, run) -> None:
    outcome = run("build", good, "--max-score-error", "0", "--output", tmp_path / "x.edge")
    assert outcome.code == 2
    assert "--max-score-error above 0" in outcome.line()


def test_an_error_that_nobody_limited_is_a_goal_and_missing_it_a_warning(
    drawn, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(precision_gate.SCORE_ERRORS, "fp16", 1e-9)
    told: list[str] = []
    wanted = options(precision="fp16", size=(64, 64), max_flips=99)
    made = build(drawn, tmp_path / "near.edge", options=wanted, say=told.append)
    assert told[-1].startswith("warning: fp16 on ")
    assert "keeping more layers does not help enough" in told[-1]
    assert made.parity is not None and made.parity.problem is not None


def test_fp32_on_the_reference_has_nothing_to_compare(bundle) -> None:
    assert Bundle.open(bundle).manifest.parity is None


def test_a_flip_is_found_by_its_name(drawn, tmp_path, monkeypatch) -> None:
    """With the threshold amid the good images' scores, int8 cannot but change a verdict."""
    seen = precision_gate.parity

    def strict(trials, *, report, **rest):
        return seen(
            trials, report=replace(report, threshold=report.threshold - report.room), **rest
        )

    monkeypatch.setattr(precision_gate, "parity", strict)
    told: list[str] = []
    wanted = options(max_score_error=99.0, size=(64, 64))
    try:
        build(drawn, tmp_path / "flips.edge", options=wanted, say=told.append)
    except PrecisionError as error:
        told.append(str(error))
    assert any("verdicts differ from fp32" in line and ".png" in line for line in told)


def test_more_blocks_are_kept_until_the_limits_hold() -> None:
    class Counted(_Gate):
        def __init__(self, needed: int) -> None:
            self.needed, self.asked = needed, []

        def _tried(self, rework, chosen):
            self.asked.append(len(chosen))
            if len(chosen) < self.needed:
                return None
            report = ParityReport("int8", 1, 1, Limits(0, 1.0), len(chosen), 0, None, ())
            return Passed(None, None, report)

    def asked(needed: int, *, count: int, blocks: int = 9) -> tuple[list[int], bool]:
        counted = Counted(needed)
        found = counted._first_that_passes(None, [None] * blocks, count=count)
        return counted.asked, found is not None

    assert asked(1, count=1) == ([1], True)
    assert asked(3, count=1) == ([1, 9], True)
    assert asked(9, count=3) == ([3, 9], True)
    assert asked(10, count=9) == ([9], False)
    assert asked(1, count=1, blocks=0) == ([], False)


class Moving(_Gate):
    """The same scores wherever the threshold is."""

    def __init__(self, *pairs) -> None:
        self._options = options(max_score_error=0.1)
        self._stages, self._pairs = Stages(), pairs

    def report(self, taught, threshold) -> ParityReport:
        low, high = np.array(self._pairs).T
        flips = int(((low < threshold.value) & (threshold.value <= high)).sum())
        nothing = Spread(0.01, 0.01, 0.01)
        engine = EngineParity("one", "int8", flips, ("a.png",), 0, nothing, None, nothing, None)
        limits = Limits(0, 0.1)
        return ParityReport(
            "int8", threshold.value, 0.4, limits, 1, 1, None, (engine,), spans=(tuple(self._pairs),)
        )


def nudged(*pairs) -> tuple[Passed | None, Threshold]:
    held_out = np.linspace(0, 0.5, 101, dtype=np.float32)
    threshold = threshold_from_scores(held_out, false_rejects=0.2)
    precision_gate = Moving(
        *[(threshold.value + low, threshold.value + high) for low, high in pairs]
    )
    taught = Taught(b"", 1, held_out, 101, (), "", "", "")
    return precision_gate.nudged(
        Passed(taught, threshold, precision_gate.report(taught, threshold))
    ), threshold


def test_a_verdict_that_differs_moves_the_threshold_to_the_nearest_gap() -> None:
    found, before = nudged((-0.003, 0.004), (-0.0041, -0.0029))
    assert found is not None and found.report is not None
    assert found.threshold.value > before.value + 0.004, "below there is the other image"
    assert found.threshold.moved == pytest.approx((found.threshold.value - before.value) / 0.4)
    assert found.report.problem is None and "1 of 2 verdicts differ" in found.report.before
    assert found.threshold.bound <= before.bound
    assert "moved by +0.01" in statement(found.threshold)


def test_the_threshold_moves_no_farther_than_it_is_known() -> None:
    assert nudged((-0.1, 0.1))[0] is None
    found, before = nudged((0.1, 0.2))
    assert found is not None and found.threshold == before
