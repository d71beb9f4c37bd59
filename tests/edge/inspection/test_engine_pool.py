"""Inspectors whose bundles hold one model share an engine, and keep their own settings."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np
import pytest
from judging import Kept
from replay import Replay

from edge.inspection.engine_pool import EnginePool
from edge.result import Verdict
from edge.stream.loop import Camera, stream_cameras
from engines.bundle import Bundle
from engines.changes import edit_manifest
from engines.errors import EngineError


@pytest.fixture
def pool():
    return EnginePool(engine="onnxruntime")


def test_bundles_of_one_model_share_an_engine_and_keep_their_settings(
    built, bundle, good, pool
) -> None:
    first = Bundle.open(built)
    other = edit_manifest(Bundle.open(bundle), threshold=9.0)
    with pool.inspector(first) as one, pool.inspector(other) as two:
        assert one.engine.shared is two.engine.shared
        assert two.settings.threshold == 9.0 != one.settings.threshold
        image = cv2.imread(str(next(good.iterdir())))
        assert one.inspect(image).score == two.inspect(image).score
        engine = one.engine.shared.engine
    with pytest.raises(EngineError, match="closed"):
        engine.infer(image[None])
    with pool.inspector(first) as again:  # the engine is closed: another is opened
        assert again.inspect(image).verdict is not Verdict.ERROR


def test_an_ill_engine_is_not_shared_with_who_comes_next(built, pool) -> None:
    with pool.inspector(Bundle.open(built)) as one:
        ill = one.engine.shared.engine
        infer = ill.infer
        ill.infer = lambda images: tuple(output * 3 for output in infer(images))
        with pool.inspector(Bundle.open(built)) as two:
            assert two.engine.shared is not one.engine.shared


def test_four_cameras_with_one_engine_get_the_verdicts_of_one(built, drawn, pool) -> None:
    files = sorted((drawn / "test").rglob("*.png"))
    shown = [cv2.imread(str(path)) for path in files]
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(pool.inspector(Bundle.open(built)))
        truth = [alone.inspect(image).score for image in shown]
        inspectors = [stack.enter_context(pool.inspector(Bundle.open(built))) for _ in range(4)]
        kept = Kept()
        summary = stream_cameras(
            [
                Camera(
                    name=f"c{n}",
                    open=lambda one=inspector: contextlib.nullcontext((Replay(shown), one.inspect)),
                    threshold=0.5,
                    live=False,
                )
                for n, inspector in enumerate(inspectors)
            ],
            sinks=[kept],
        )
    assert summary.frames == 4 * len(files)
    for number in range(4):
        scores = [r.score for r in kept.got if r.camera == f"c{number}"]
        np.testing.assert_allclose(scores, truth, rtol=1e-5)
