"""`edge info --drift`: each layer of a bundle's graph against float32."""

from __future__ import annotations

import json
from dataclasses import replace

from calibrate.precision.layer_drift import LayerDrift
from edge.cli.tables import print_drift
from edge.evaluation.drift import DriftReport


def test_drift_names_first_and_worst(run, built) -> None:
    told = run("info", built, "--drift", "--json")
    assert told.code == 0, told.err
    found = json.loads(told.out)
    drift = found["drift"]
    assert found["precision"] == drift["precision"] == "fp32" and drift["first"] is None
    errors = {layer["name"]: layer["error"] for layer in drift["layers"]}
    assert len(errors) > 10 and errors[drift["worst"]] == max(errors.values()) < drift["tolerance"]

    table = run("info", built, "--drift")
    assert "no layer is beyond; worst: " in table.err
    assert "against float32" in table.out and drift["worst"] in table.out


def report(precision: str = "int8", **changes: object) -> DriftReport:
    """A PRN in int8: probabilities near 0, that are off by much of themselves."""
    layers = (
        LayerDrift("backbone/conv1", "Conv", 0.03),
        LayerDrift("up/sigmoid", "Sigmoid", 0.8),
        LayerDrift("up/last", "Conv", 0.9),
    )
    known = {"score_error": 0.02, "score_limit": 0.1, "flips": 0, **changes}
    return DriftReport("openvino", "int8+bf16", precision, 0.25, layers, **known)


def test_a_layer_is_wrong_only_where_the_scores_move_more_than_the_build_allows(capfd) -> None:
    sound = report()
    assert sound.is_sound and sound.first is None and sound.worst.name == "up/last"
    print_drift(sound)
    told = capfd.readouterr().err
    assert "beyond, to no effect: 2; worst: up/last" in told
    assert "scores move by 0.020 of the margin" in told and told.endswith("allowed: sound\n")
    for changes in ({"score_error": 0.11}, {"flips": 1}, {"score_error": float("nan")}):
        found = report(**changes)
        assert not found.is_sound and found.first.name == "up/sigmoid"
        print_drift(found)
        told = capfd.readouterr().err
        assert "first beyond: up/sigmoid" in told and told.endswith("allowed: not sound\n")
    no_number = replace(sound, layers=(LayerDrift("a", "Conv", None), *sound.layers))
    assert no_number.first.name == "a", "whatever the score says"
    assert report(score_error=None).first.name == "up/sigmoid", "there is no verdict to go by"


def test_drift_is_asked_of_the_engine_that_is_named(run, built) -> None:
    found = json.loads(run("info", built, "--drift", "--engine", "onnxruntime", "--json").out)
    assert found["drift"]["engine"] == "onnxruntime" and found["drift"]["sound"]
    assert "are for --drift" in run("info", built, "--engine", "openvino").line()
    words = ("info", built, "--drift", "--engine", "onnxruntime", "--device", "0")
    assert "onnxruntime runs on the CPU" in run(*words).line()
