"""The gate in a build: what it sees, what it keeps, and what it refuses to ship."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from plain_builds import leave_out

from calibrate.learnt import LearntInspector
from calibrate.precision import sensitivity
from calibrate.precision.int8 import PrecisionError
from calibrate.precision.parity import ParityReport
from calibrate.progress import Stages
from calibrate.protoad.folds import FOLDS
from calibrate.threshold import Threshold, threshold_from_scores
from edge.building import build as build_module
from edge.building import precision_gate
from edge.building.build import build
from edge.building.built import Built
from edge.building.methods import Taught
from edge.building.precision_gate import GateResult, _PrecisionGate, limits_from_options
from edge.building.report import describe_threshold
from edge.options import BuildOptions
from edge.plans import plan_layers
from engines.bundle import Bundle
from engines.choose import open_engine
from engines.engine import EXACT, Engine, EngineOptions, Precision
from engines.parity_record import EngineParityRecord, LimitsRecord, ParityRecord, SpreadRecord


def options(**changes) -> BuildOptions:
    given = {"precision": "int8", "engine": "onnxruntime", "size": (64, 64), "prototypes": 64}
    return BuildOptions(**{**given, **changes})


@pytest.fixture(scope="module")
def free(drawn, tmp_path_factory) -> Built:
    """An int8 build that may differ as it likes. Read-only."""
    output = tmp_path_factory.mktemp("free") / "flange.edge"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "find_drawn_defects", lambda *_, **__: None)
        return build(drawn, output, options=options(max_flips=99, max_score_error=99.0))


@pytest.fixture
def one_engine(monkeypatch) -> None:
    """Compare on the deployed engine alone, with few folds."""
    leave_out(monkeypatch)


@pytest.fixture
def quick_search(one_engine, monkeypatch) -> None:
    """Divide the graph into few blocks as well."""
    monkeypatch.setattr(sensitivity, "MAX_BLOCKS", 4)


def deployed_error(built: Built) -> float:
    assert built.parity is not None
    return built.parity.record.engines[0].score_error.max


def test_the_gate_sees_held_out_and_labelled_images_on_every_engine(free) -> None:
    assert free.parity is not None
    report = free.parity.record
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
    assert said == record.model_dump(mode="json") == free.parity.record.model_dump(mode="json")
    page = (free.bundle.path / "report.html").read_text(encoding="utf-8")
    assert "int8 against fp32: 12 held-out good" in page


def test_int8_is_not_recommended_where_its_plan_is_the_slower_one(free) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    (facts,) = plan_layers(free.bundle.path).values()
    (note,) = facts["notes"]
    assert note.startswith("fp16 is expected to be faster than int8 here: ")


def test_over_the_limit_layers_are_kept_until_it_holds(free, drawn, tmp_path, monkeypatch) -> None:
    leave_out(monkeypatch, folds=FOLDS)  # as many as in `free`, whose error is the measure
    limit = 0.8 * deployed_error(free)
    told: list[str] = []
    made = build(
        drawn,
        tmp_path / "kept.edge",
        options=options(max_flips=99, max_score_error=limit),
        say=told.append,
    )
    assert made.parity is not None and made.parity.problem is None
    report = made.parity.record
    assert deployed_error(made) <= limit < deployed_error(free)
    assert report.kept and "may be" in report.before
    assert sum(block.cost for block in report.kept) <= 0.5
    assert [line for line in told if "searching for precision-sensitive layers" in line]
    assert any(line.startswith("kept in higher precision: ") for line in told)
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
    drawn, bundle, run, small, snapshot, quick_search
) -> None:
    before = snapshot(bundle)
    words = (*small, "--precision", "int8", "--size", "64", "--max-score-error", "1e-9")
    outcome = run("build", drawn, *words, "--output", bundle)
    assert outcome.code == 2
    line = [text for text in outcome.err.splitlines() if text.startswith("edge: int8")][-1]
    assert "also with half of the work in higher precision; build with --precision" in line
    assert snapshot(bundle) == before


def test_limits_that_make_no_sense_are_refused_before_the_work(good, tmp_path, run) -> None:
    outcome = run("build", good, "--max-score-error", "0", "--output", tmp_path / "x.edge")
    assert outcome.code == 2
    assert "'--max-score-error': 0.0 should be greater than 0" in outcome.line()


def test_an_error_that_nobody_limited_is_a_goal_and_missing_it_a_warning(
    drawn, tmp_path, monkeypatch, quick_search
) -> None:
    monkeypatch.setitem(precision_gate.SCORE_ERRORS, "fp16", 1e-9)
    told: list[str] = []
    wanted = options(precision="fp16", max_flips=99)
    made = build(drawn, tmp_path / "near.edge", options=wanted, say=told.append)
    (warning,) = [line for line in told if line.startswith("warning: fp16 on ")]
    assert "keeping more layers does not help enough" in warning
    assert made.parity is not None and made.parity.problem is not None


def test_fp32_on_the_reference_has_nothing_to_compare(bundle) -> None:
    assert Bundle.open(bundle).manifest.parity is None


def test_a_flip_is_found_by_its_name(drawn, tmp_path, monkeypatch, one_engine) -> None:
    """With the threshold between an image's two scores, int8 cannot but change its verdict."""
    compare = precision_gate.compare_with_fp32

    def strict(trials, *, terms, **rest):
        spans = compare(trials, terms=terms, **rest).spans[0]
        widest = max(spans, key=lambda span: span[1] - span[0])
        return compare(trials, terms=replace(terms, threshold=sum(widest) / 2), **rest)

    def search(self, first):
        raise PrecisionError("searched")

    monkeypatch.setattr(precision_gate, "compare_with_fp32", strict)
    monkeypatch.setattr(_PrecisionGate, "keep_sensitive_layers", search)
    told: list[str] = []
    wanted = options(max_score_error=99.0)
    with pytest.raises(PrecisionError, match="searched"):
        build(drawn, tmp_path / "flips.edge", options=wanted, say=told.append)
    assert "verdicts differ from fp32" in told[-1] and ".png" in told[-1]


@pytest.mark.parametrize("limits", [(-1, 0.1), (0, 0.0), (0, float("nan")), (0, float("inf"))])
def test_limits_that_make_no_sense_are_refused(limits) -> None:
    flips, error = limits
    with pytest.raises(ValueError, match=r"max_(flips|score_error)\n +Input should be"):
        options(max_flips=flips, max_score_error=error)


def record(**changes) -> ParityRecord:
    given = {
        "precision": "int8",
        "threshold": 1.0,
        "room": 1.0,
        "limits": LimitsRecord(flips=0, score_error=1.0),
        "good": 1,
        "labelled": 1,
        "engines": (),
    }
    return ParityRecord(**{**given, **changes})


def test_more_blocks_are_kept_until_the_limits_hold() -> None:
    class Counted(_PrecisionGate):
        def __init__(self, needed: int) -> None:
            self.needed, self.asked = needed, []

        def _try_blocks(self, taught, chosen):
            self.asked.append(len(chosen))
            if len(chosen) < self.needed:
                return None
            return GateResult(None, None, ParityReport(record()))

    def asked(needed: int, *, count: int, blocks: int = 9) -> tuple[list[int], bool]:
        counted = Counted(needed)
        found = counted._first_that_passes(None, [None] * blocks, count=count)
        return counted.asked, found is not None

    assert asked(1, count=1) == ([1], True)
    assert asked(3, count=1) == ([1, 9], True)
    assert asked(9, count=3) == ([3, 9], True)
    assert asked(10, count=9) == ([9], False)
    assert asked(1, count=1, blocks=0) == ([], False)


def open_reference(name: str, model: bytes, precision: Precision) -> Engine:
    return open_engine(model, engine=name, options=EngineOptions(precision))


def test_layers_are_ranked_on_an_engine_that_rounds_as_the_gpu_does() -> None:
    def engines(*beside: str) -> list[str]:
        both = ("openvino", "onnxruntime")
        gate = _PrecisionGate(
            options(), both, None, Stages(), beside=frozenset(beside), open_engine=open_reference
        )
        return gate._engines

    assert engines("openvino") == ["onnxruntime", "openvino"]
    assert engines() == ["openvino", "onnxruntime"], "the deployed one first"


class Moving(_PrecisionGate):
    """The same scores wherever the threshold is."""

    def __init__(self, *pairs) -> None:
        self._options = options(max_score_error=0.1)
        self._limits = limits_from_options(self._options)
        self._stages, self._pairs = Stages(), pairs

    def compare(self, taught, threshold) -> ParityReport:
        low, high = np.array(self._pairs).T
        flips = int(((low < threshold.value) & (threshold.value <= high)).sum())
        spread = SpreadRecord(max=0.01, p99=0.01, mean=0.01)
        engine = EngineParityRecord(
            engine="one",
            executes="int8",
            flips=flips,
            flipped=("a.png",),
            score_error=spread,
            map_error=spread,
        )
        seen = record(threshold=threshold.value, room=0.4, limits=self._limits, engines=(engine,))
        return ParityReport(seen, (tuple(self._pairs),))


def nudged(*pairs) -> tuple[GateResult | None, Threshold]:
    held_out = np.linspace(0, 0.5, 101, dtype=np.float32)
    threshold = threshold_from_scores(held_out, false_rejects=0.2)
    gate = Moving(*[(threshold.value + low, threshold.value + high) for low, high in pairs])
    learnt = LearntInspector(b"", 1, held_out, (), held_out, ())
    taught = Taught(learnt, None, 101, (), "", "", "")
    first = GateResult(taught, threshold, gate.compare(taught, threshold))
    return gate.nudge_threshold(first), threshold


def test_a_verdict_that_differs_moves_the_threshold_to_the_nearest_gap() -> None:
    found, before = nudged((-0.003, 0.004), (-0.0041, -0.0029))
    assert found is not None and found.report is not None
    assert found.threshold.value > before.value + 0.004, "below there is the other image"
    assert found.threshold.moved == pytest.approx((found.threshold.value - before.value) / 0.4)
    assert found.report.problem is None and "1 of 2 verdicts differ" in found.report.record.before
    assert found.threshold.bound <= before.bound
    assert "moved by +0.01" in describe_threshold(found.threshold)


def test_the_threshold_moves_no_farther_than_it_is_known() -> None:
    assert nudged((-0.1, 0.1))[0] is None
    found, before = nudged((0.1, 0.2))
    assert found is not None and found.threshold == before
