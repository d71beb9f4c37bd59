"""Jobs: one of a kind, told how far they are, ended when they are told to, never left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from studio_client import wait_for
from studio_work import count_up, crash, fail, wait

from edge.studio import jobs as module
from edge.studio.jobs import Jobs
from edge.studio.refusals import RefusalError


@pytest.fixture
def ended():
    return []


@pytest.fixture
def jobs(ended):
    jobs = Jobs(ended.append)
    yield jobs
    jobs.close()


def finished(jobs: Jobs, kind: str) -> dict:
    return wait_for(lambda: (job := jobs.latest(kind))["state"] != "running" and job)


def test_a_job_tells_how_far_it_is_and_what_came_of_it(jobs, ended) -> None:
    assert jobs.latest("count") is None
    jobs.start("count", count_up, {"numbers": [1, 2, 3], "lines": 300}, by="anna")
    job = finished(jobs, "count")
    assert (job["state"], job["result"], job["error"]) == ("done", {"sum": 6}, "")
    assert job["stages"][0]["share"] == 1
    assert job["stages"][0]["line"] == "all of it"
    assert len(job["lines"]) == module.MAX_LINES
    assert job["lines"][-1] == "line 299"
    assert [(one.by, one.state) for one in ended] == [("anna", "done")]


def test_failures_are_told_in_one_line(jobs) -> None:
    jobs.start("fail", fail, {}, by="")
    jobs.start("crash", crash, {}, by="")
    assert finished(jobs, "fail")["error"] == "the words of an error"
    killed = finished(jobs, "crash")
    assert (killed["state"], killed["error"]) == ("killed", "SIGKILL")


def test_one_of_a_kind_and_a_stop(jobs, tmp_path) -> None:
    file = tmp_path / "pid"
    jobs.start("wait", wait, {"file": str(file)}, by="")
    with pytest.raises(RefusalError, match="job_runs"):
        jobs.start("wait", wait, {"file": str(file)}, by="")
    wait_for(lambda: file.exists() and file.read_text())
    jobs.cancel("wait")
    assert finished(jobs, "wait")["state"] == "cancelled"
    assert not Path(f"/proc/{file.read_text()}").exists()
    with pytest.raises(RefusalError, match="no_job"):
        jobs.cancel("wait")


def test_one_that_does_not_hear_is_ended_by_force(jobs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "END_WITHIN_S", 0.2)
    file = tmp_path / "pid"
    jobs.start("wait", wait, {"file": str(file), "stubborn": True}, by="")
    wait_for(lambda: "deaf" in jobs.latest("wait")["lines"])
    jobs.close()
    assert jobs.latest("wait")["state"] == "cancelled"
    assert not Path(f"/proc/{file.read_text()}").exists()
    with pytest.raises(RefusalError):
        jobs.start("count", count_up, {"numbers": []}, by="")
