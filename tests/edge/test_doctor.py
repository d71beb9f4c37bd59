"""`edge doctor` on this machine, on a Jetson that isn't one, and with parts missing."""

from __future__ import annotations

import json

import pytest

from edge import doctor
from engines import jetson
from engines.errors import EngineError


def by_name() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine()}


def test_this_machine_can_work_and_every_line_is_one_line() -> None:
    checks = doctor.examine()
    assert not [check for check in checks if check.status == "fail"]
    for check in checks:
        assert check.detail
        assert "\n" not in check.detail + check.fix
        assert check.status == "ok" or check.fix, f"{check.name} warns without a way out"
    assert len({check.name for check in checks}) == len(checks)
    json.dumps([check.to_json() for check in checks])


def test_it_names_the_engine_that_auto_takes_and_the_versions() -> None:
    checks = by_name()
    assert checks["engine auto"].detail.split(":")[0] in (
        "tensorrt",
        "tensorrt-rtx",
        "openvino",
        "onnxruntime",
    )
    assert checks["engine onnxruntime"].detail == "works here"
    assert checks["onnx"].detail.startswith("1.")
    assert "cores" in checks["cpu"].detail


def test_no_gpu_is_no_fault(monkeypatch) -> None:
    def none() -> list[object]:
        raise EngineError("no NVIDIA GPU answered (CUDA error 35)")

    monkeypatch.setattr(doctor, "gpus", none)
    monkeypatch.setattr(doctor.Path, "exists", lambda self: False)
    check = doctor._gpu()
    assert check.status == "ok"
    assert "CUDA error 35" in check.detail


def test_a_jetson_is_told_that_pips_opencv_hides_the_systems(tmp_path, monkeypatch) -> None:
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3, BOARD: generic\n")
    monkeypatch.setattr(jetson, "TEGRA_RELEASE", release)
    assert jetson.jetpack() == 6
    checks = by_name()
    assert "jetpack6" in checks["jetson numpy"].fix  # numpy 2 is installed here
    assert "--runtime nvidia" in checks["gpu"].fix  # and no driver to update
    assert "update" not in checks["gpu"].fix
    assert "R36 (release)" in checks["jetson"].detail
    assert checks["jetson opencv"].status == "warn"
    assert "--system-site-packages" in checks["jetson opencv"].fix
    assert checks["gstreamer"].status == "warn"
    monkeypatch.setattr(jetson, "TEGRA_RELEASE", tmp_path / "none")
    assert jetson.jetpack() == 0
    assert "jetson" not in by_name()


def test_jetpack_is_read_from_the_package_list(tmp_path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: libc6\nVersion: 2.35\n\n"
        "Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2+b77\n"
    )
    assert doctor._first_version("nvidia-jetpack", status) == "JetPack 6.2+b77"
    assert doctor._first_version("nvidia-jet", status) == ""


def test_a_broken_tensorrt_is_named_not_raised(tmp_path, monkeypatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvdla_compiler.so: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tensorrt", raising=False)
    check = doctor._tensorrt("tensorrt")
    assert check.status == "warn"
    assert "nvidia-l4t-dla-compiler" in check.detail


def test_a_nearly_full_disk_is_a_warning(monkeypatch) -> None:
    class Usage:
        free = 5 << 20

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage)
    check = doctor._disk()
    assert (check.status, check.detail[:7]) == ("warn", "0.0 GiB")


@pytest.mark.parametrize(
    ("line", "expected"),
    [("    GStreamer:   YES (1.20.3)\n", True), ("    GStreamer:     NO\n", False), ("", False)],
)
def test_opencvs_build_report_is_read(line, expected) -> None:
    build = f"  Video I/O:\n    FFMPEG:  YES\n{line}    v4l/v4l2:  YES (linux/videodev2.h)\n"
    assert doctor._build_has(build, "GStreamer") is expected
    assert doctor._build_has(build, "v4l/v4l2")


def test_no_engine_at_all_is_a_failure(monkeypatch) -> None:
    def none(engine: str = "auto") -> object:
        raise EngineError("no engine works here")

    monkeypatch.setattr(doctor, "choose_engine", none)
    assert doctor._auto().status == "fail"
