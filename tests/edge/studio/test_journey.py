"""From the camera to an inspector, as the page's scripts ask for it."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from studio_client import StudioClient, client_of, running_studio, wait_for

from edge.config import Config
from edge.options import BuildOptions, CameraSection


@pytest.fixture(scope="module")
def line(drawn, tmp_path_factory):
    """A studio of a line with a replayed camera, and a second one that is not there."""
    home = tmp_path_factory.mktemp("line")
    shutil.copytree(drawn / "train" / "good", home / "parts")
    cameras = {
        "left": CameraSection(source=f"replay:{home / 'parts'}?fps=20"),
        "gone": CameraSection(source="/dev/video77"),
    }
    build = BuildOptions(size=(64, 64), prototypes=32, engine="onnxruntime")
    config = Config(cameras=cameras, build=build)
    with running_studio(home, config) as server:
        yield server


@pytest.fixture
def client(line):
    with client_of(line) as client:
        yield client


def look(client: StudioClient, source: str = "left") -> dict:
    """The state of a camera that sends pictures, and has been measured."""
    return wait_for(lambda: (s := client.state("/camera/state", source=source))["measured"] and s)


def captured(client: StudioClient) -> dict:
    state = wait_for(
        lambda: (
            not (s := client.state("/camera/state", source="left"))["capturing"]["is_active"] and s
        )
    )
    return state["capturing"]


def test_the_camera_is_seen_and_measured(client) -> None:
    state = look(client)
    assert state["size"] == [128, 128]
    assert state["measured"]["sharpness"] > 0
    picture = cv2.imdecode(
        np.frombuffer(client.http.get("/camera/live.jpg").content, np.uint8), cv2.IMREAD_COLOR
    )
    assert picture.shape == (128, 128, 3)


@pytest.mark.soak
def test_from_the_camera_to_a_bundle(client, line) -> None:
    look(client)
    client.command("/camera/capture", set="flange", how="seconds", seconds=0.1, count=8)
    assert client.post("/camera/capture", {"set": "x", "how": "key"}).status_code == 409
    taken = captured(client)
    assert (taken["saved"], taken["error"]) == (8, "")
    places = client.state("/build/places")
    assert (places["sets"]["flange"], places["bundles"]) == (8, [])
    asked = {"set": "flange", "bundle": "flange", "precision": "fp32", "model": "protoad"}
    client.command("/build/start", **asked, false_rejects=0.01)
    assert client.post("/build/start", asked | {"false_rejects": 0.01}).status_code == 409
    job = client.job("/build")
    assert (job["state"], job["error"]) == ("done", "")
    assert [stage["share"] for stage in job["stages"]] == [1] * len(job["stages"])
    assert {"features", "prototypes"} <= {stage["name"] for stage in job["stages"]}
    assert job["result"]["threshold"] > 0
    report = client.http.get("/build/report", params={"bundle": "flange"})
    assert "<html" in report.text
    assert "sandbox" in report.headers["content-security-policy"]
    told = [one for one in client.state("/history/lines")["lines"] if "flange" in str(one)]
    assert {one["what"] for one in told} == {"/camera/capture", "/build/start"}
    assert any(one["what"] == "job build" for one in client.state("/history/lines")["lines"])
    assert line.studio.places.bundles().keys() == {"flange"}


def test_a_key_takes_one_picture_and_copies_are_told(client) -> None:
    look(client)
    client.command("/camera/capture", set="by-key", how="key", count=3)
    for _ in range(3):
        client.command("/camera/shoot")
    assert captured(client)["saved"] == 3
    assert client.post("/camera/shoot").status_code == 409


def test_a_camera_that_is_not_there_is_told(client) -> None:
    state = wait_for(lambda: (s := client.state("/camera/state", source="gone"))["reason"] and s)
    assert "/dev/video77" in state["reason"]
    assert client.http.get("/camera/live.jpg").status_code == 404


def test_a_build_that_cannot_be_tells_why(client, line) -> None:
    line.studio.places.make_set("empty")
    asked = {"set": "empty", "bundle": "empty", "precision": "fp32", "model": "protoad"}
    client.command("/build/start", **asked, false_rejects=0.01)
    job = client.job("/build")
    assert job["state"] == "failed"
    assert "empty" in job["error"]
    assert "Traceback" not in job["error"]
    assert "empty" not in client.state("/build/places")["bundles"]
