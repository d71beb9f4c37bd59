"""`edge info --drift`: each layer of a bundle's graph against float32."""

from __future__ import annotations

import json


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
