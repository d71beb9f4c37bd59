"""What nobody foresaw is told where people look: readiness, metrics, and a station's report."""

from __future__ import annotations

import threading

import pytest

from edge.options import LifeOptions
from edge.plc.station.messages import JudgeOptions, ThreadFailed, WorkerSetup
from edge.plc.station.process_worker import ProcessWorker
from edge.service.metrics import metrics_from_report
from edge.service.supervisor import Supervisor
from process.threads import FAILURES


@pytest.fixture
def supervisor():
    with Supervisor(LifeOptions(self_test_s=0), stop=threading.Event()) as opened:
        opened.begin()
        yield opened
    FAILURES.forget("")


def test_the_process_is_not_ready_and_says_why(supervisor) -> None:
    assert supervisor.to_json()["ready"]
    FAILURES.note("edge-upkeep", RuntimeError("x"), goes_on=True)
    report = supervisor.to_json()
    assert not report["ready"]
    assert report["reasons"] == {"edge-upkeep": "edge-upkeep failed: RuntimeError: x"}
    text = metrics_from_report(report)[0].decode()
    assert "edge_ready 0.0" in text
    assert f"edge_thread_failures_total {float(FAILURES.count)}" in text


def test_what_failed_in_the_worker_counts_until_it_is_replaced(supervisor) -> None:
    worker = ProcessWorker(JudgeOptions({1: "x.edge"}, "0"))
    worker.on_message(ThreadFailed("edge-upkeep", "edge-upkeep failed: x", goes_on=False))
    name = "the worker: edge-upkeep"
    assert supervisor.not_ready_reasons() == {name: f"{name} failed: x"}
    assert isinstance(worker.on_start(), WorkerSetup)
    assert supervisor.not_ready_reasons() == {}
    worker.close()
