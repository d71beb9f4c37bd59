"""What the models declare is what the classes for embedding default to, and what there is."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import get_args

import pytest

from calibrate.prn.options import TrainingOptions
from edge.options import BridgeName, BuildOptions, EngineName, ServeOptions
from edge.plc.station.messages import JudgeOptions, StationOptions


@pytest.mark.parametrize(
    ("kind", "options", "others"),
    [
        (JudgeOptions, ServeOptions, set()),
        (
            StationOptions,
            ServeOptions,
            {"stall_after_s", "recipes"},
        ),  # of an inspection, not of a camera
        (TrainingOptions, BuildOptions, {"size", "prototypes", "precision"}),
    ],
)
def test_a_class_for_embedding_has_the_same_defaults(kind, options, others) -> None:
    declared = options.model_fields
    shared = {field.name for field in fields(kind)} & set(declared) - others
    assert shared
    for field in fields(kind):
        if field.name in shared and field.default is not MISSING:
            assert field.default == declared[field.name].default, field.name


def test_another_default_that_is_the_same() -> None:
    assert TrainingOptions().size == BuildOptions().prn_size


def test_every_engine_and_bridge_can_be_chosen() -> None:
    from engines.choose import AUTO, ENGINES

    assert set(get_args(EngineName)) == {AUTO, *ENGINES}
    assert get_args(BridgeName) == ("modbus", "opcua", "mqtt")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"engine": "fastest"}, "'tensorrt-rtx', 'openvino' or 'onnxruntime'"),
        ({"false_rejects": 0.0}, "greater than 0"),
        ({"false_rejects": float("nan")}, "less than 1"),
        ({"batch": 3}, "multiple of 2"),
        ({"roi": "0,0,0,9"}, "give x,y,width,height in px, not empty"),
        ({"presicion": "fp16"}, "Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_no_option(wrong, says) -> None:
    with pytest.raises(ValueError, match=says):
        BuildOptions(**wrong)
