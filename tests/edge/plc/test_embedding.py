"""Inside somebody else's program: threads, signals, logging, streams, memory of what was opened."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

import edge
from edge.result import Verdict
from engines.errors import EngineError

GUEST = """
import logging, signal, sys, threading, warnings, locale, os
THEIRS = {"LD_LIBRARY_PATH", "QT_QPA_FONTDIR", "QT_QPA_PLATFORM_PLUGIN_PATH"}  # OpenCV's own
THEIRS |= {"ORT_DISABLE_TELEMETRY"}
def house():
    return (
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        list(logging.getLogger().handlers), logging.getLogger().level, logging.getLoggerClass(),
        sys.excepthook, threading.excepthook, sys.getswitchinterval(), sys.stdout, sys.stderr,
        warnings.showwarning, locale.setlocale(locale.LC_ALL), os.getcwd(),
        {key: value for key, value in os.environ.items() if key not in THEIRS},
        threading.active_count(),
    )
before = house()
import edge
from edge.plc.station.messages import JudgeOptions, StationOptions
from edge.plc.station.station import Station
from edge.plc.station.thread_worker import ThreadWorker
from edge.plc.station.inspector_judge import InspectorJudge
with edge.load(sys.argv[1], engine="onnxruntime") as inspector:
    inspector.warm_up(2)
    for result in inspector.stream(sys.argv[2]):
        pass
options = StationOptions(deadline_ms=60_000)
judge = InspectorJudge(
    JudgeOptions({1: sys.argv[1]}, sys.argv[2], engine="onnxruntime", deadline_ms=60_000)
)
with Station(ThreadWorker(judge), options=options) as station:
    station.wait_ready(60)
    station.inspect()
after = house()
for index, (one, other) in enumerate(zip(before, after)):
    assert one == other, (index, one, other)
"""


def test_a_guest_leaves_the_house_as_it_was(built, drawn) -> None:
    """Signals, logging, hooks, environment, threads; and it prints nothing, not even from C."""
    told = subprocess.run(
        [sys.executable, "-c", GUEST, str(built), str(drawn / "test" / "good")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_importing_brings_in_nothing_heavy() -> None:
    code = textwrap.dedent("""
        import sys, edge
        edge.Station
        heavy = {"cv2", "numpy", "onnx", "onnxruntime", "openvino", "pydantic", "torch", "typer"}
        print(sorted(heavy & set(sys.modules)))
    """)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_many_threads_get_the_scores_that_one_gets(built, drawn) -> None:
    images = [cv2.imread(str(path)) for path in sorted((drawn / "test").rglob("*.png"))]
    with edge.load(built, engine="onnxruntime") as inspector:
        alone = [inspector.inspect(image).score for image in images]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda image: inspector.inspect(image).score, images * 4))
    assert together == alone * 4


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_close_is_deterministic_while_others_inspect(built, drawn, engine) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    image = cv2.imread(str(min((drawn / "train" / "good").iterdir())))
    inspector = edge.load(built, engine=engine)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(inspector.inspect, image) for _ in range(40)]
        inspector.close()
        results = [future.result() for future in running]
    inspector.close()
    after = inspector.inspect(image)
    assert after.verdict is Verdict.ERROR
    assert "closed" in after.reason
    reasons = {result.reason for result in results if result.verdict is Verdict.ERROR}
    assert len(reasons) <= 1, "each was inspected whole, or told that it is closed"


def test_warm_up_is_explicit_and_may_be_too_much(built) -> None:
    with edge.load(built, engine="onnxruntime") as inspector:
        assert inspector.warm_up(3) > 0
        with pytest.raises(EngineError, match=r"longer than 0\.0001 ms; give it longer"):
            inspector.warm_up(1, within_ms=0.0001)
