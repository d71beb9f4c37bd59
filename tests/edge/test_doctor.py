"""`edge doctor` on this machine, on a Jetson that isn't one, and with parts missing."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge import doctor
from engines import cuda, installing, jetson
from engines.cuda import Gpu
from engines.errors import EngineError
from engines.plans.flavours import MODULES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


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
    monkeypatch.setattr(installing, "DRIVER", Path("/nonexistent"))
    check = doctor._gpu()
    assert check.status == "ok"
    assert "CUDA error 35" in check.detail


ORIN, THOR = ("Orin", "sm87", "12.6", True), ("NVIDIA Thor", "sm110", "13.0", True)
ADA, HOPPER = ("NVIDIA GeForce RTX 4070", "sm89", "13.0", False), ("H200", "sm90", "13.0", False)
RELEASES = {6: "# R36 (release), REVISION: 4.3\n", 7: "# R38 (release), REVISION: 2.0\n"}


@pytest.mark.parametrize(
    ("gpu", "jetpack", "driver", "installed", "wanted"),
    [
        (ORIN, 6, "540.4.0", "tensorrt", None),
        (ORIN, 6, "540.4.0", "", "sudo apt install python3-libnvinfer"),
        (THOR, 7, "580.00", "tensorrt", None),
        (ADA, 0, "580.95.05", "tensorrt_rtx", None),
        (ADA, 0, "580.95.05", "", "protoedge[tensorrt-cu13]', or pip install 'protoedge[rtx-cu13]"),
        (ADA, 0, "560.35.03", "", "protoedge[tensorrt-cu12]', or pip install 'protoedge[rtx-cu12]"),
        (HOPPER, 0, "580.95.05", "tensorrt", None),
        (HOPPER, 0, "580.95.05", "tensorrt_rtx", "pip install 'protoedge[tensorrt-cu13]'"),
        (ADA, 0, "470.10", "", "update the NVIDIA driver 470.10"),
        (None, 6, "540.4.0", "tensorrt", "do what is said of `gpu`"),
        (None, 0, "580.95.05", "", "do what is said of `gpu`"),
    ],
)
def test_each_machine_gets_the_engine_of_its_gpu_or_a_step_that_is_possible_there(
    gpu, jetpack, driver, installed, wanted, tmp_path, monkeypatch
) -> None:
    be_machine(monkeypatch, tmp_path, gpu, jetpack=jetpack, driver=driver, installed=installed)
    checks = by_name()
    told = checks["engine auto"]
    if wanted is None:
        engine = installed.replace("_", "-")
        assert (told.status, told.detail.split(":")[0]) == ("ok", engine), told
        assert checks[f"engine {engine}"].detail == "works here"
        assert f"driver {driver} for CUDA {gpu[2]}" in checks["gpu"].detail
    else:
        assert told.status == "warn"
        assert wanted in told.fix
    steps = " ".join(check.fix for check in checks.values() if check.status != "ok")
    never = r"rtx-cu|tensorrt-cu|update the NVIDIA driver|^pip install opencv"
    assert not jetpack or not re.search(never, steps)
    assert "cu13" not in steps or int(driver.split(".")[0]) >= 580
    assert steps.count("(") == steps.count(")")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"protoedge\[(.*?)\]", steps)
    assert set(named) <= set(extras["optional-dependencies"])


def rows_of_page() -> list[tuple[str, ...]]:
    """What docs/gpu_install.md says of each machine: its name, line of `gpu`, engine of `auto`."""
    page = (ROOT / "docs" / "gpu_install.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (.*?) \| `(.*?)` \| `(.*?): …` \|$", page, re.MULTILINE)


@pytest.mark.parametrize(("machine", "line", "engine"), rows_of_page())
def test_the_page_shows_what_is_printed_when_it_is_right(
    machine, line, engine, tmp_path, monkeypatch
) -> None:
    form = r"(.*) \((sm\d+), (\d+) GiB( shared)?\), driver ([\d.]+) for CUDA ([\d.]+)"
    name, capability, gib, shared, driver, of_cuda = re.fullmatch(form, line).groups()
    jetpack = re.search(r"JetPack (\d)", machine)
    be_machine(
        monkeypatch,
        tmp_path,
        (name, capability, of_cuda, bool(shared)),
        jetpack=int(jetpack[1]) if jetpack else 0,
        driver=driver,
        installed=engine.replace("-", "_"),
        gib=int(gib),
    )
    checks = by_name()
    assert checks["gpu"].detail == line
    assert checks["engine auto"].detail.startswith(f"{engine}: ")
    assert ("jetson" in checks) == bool(jetpack)


def test_the_page_has_every_kind_of_machine() -> None:
    assert [row[0].split(",")[-1].strip() for row in rows_of_page()] == [
        "JetPack 6.2",
        "JetPack 7",
        "RTX desktop",
        "data centre",
    ]


@pytest.mark.parametrize(
    ("release", "tensorrt", "bindings"),
    [
        ("# R35 (release), REVISION: 4.1", "install JetPack 6.1", "install JetPack 6.1"),
        ("# R36 (release), REVISION: 3.0", "install JetPack 6.1", "install JetPack 6.1"),
        ("# R36 (release), REVISION: 4.3", "sudo apt install", "pip install 'protoedge[jetpack6]'"),
        ("# R38 (release), REVISION: 2.0", "sudo apt install", "pip install 'protoedge[jetpack7]'"),
    ],
)
def test_a_jetson_whose_tensorrt_is_too_old_needs_a_newer_jetpack(
    release, tensorrt, bindings, tmp_path, monkeypatch
) -> None:
    (tmp_path / "release").write_text(release)
    monkeypatch.setattr(jetson, "TEGRA_RELEASE", tmp_path / "release")
    assert installing.how_to_get_tensorrt().startswith(tensorrt)
    assert installing.how_to_get_cuda_bindings().startswith(bindings)


@pytest.mark.parametrize(
    ("processor", "driver", "step"),
    [
        ("x86_64", "580.95.05", "pip install 'protoedge[rtx-cu13]'"),
        ("x86_64", "560.35.03", "pip install 'protoedge[rtx-cu12]'"),
        ("x86_64", "", "pip install 'protoedge[rtx-cu13]'"),
        ("aarch64", "540.4.0", "there is no tensorrt-rtx for aarch64"),
    ],
)
def test_plans_are_compiled_where_the_package_is(processor, driver, step, monkeypatch) -> None:
    monkeypatch.setattr(installing.platform, "machine", lambda: processor)
    monkeypatch.setattr(installing, "driver_release", lambda: driver)
    assert installing.how_to_compile_rtx().startswith(step)


def be_machine(
    monkeypatch, folder: Path, gpu, *, jetpack: int, driver: str, installed: str, gib: int = 8
) -> None:
    def answered() -> list[Gpu]:
        if gpu is None:
            raise EngineError("no NVIDIA GPU answered: CUDA error 100 in cudaGetDeviceCount: none")
        name, capability, of_cuda, integrated = gpu
        return [Gpu(0, name, capability, gib << 30, integrated, of_cuda)]

    def find_spec(module: str, *rest: object) -> object:
        if module in MODULES.values():
            return "here" if module == installed else None
        return true_find_spec(module, *rest)

    true_find_spec = importlib.util.find_spec
    if jetpack:
        (folder / "release").write_text(RELEASES[jetpack])
    line = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release Build\n"
    (folder / "version").write_text(line)
    for module in MODULES.values():
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(__version__="10.13.3"))
    monkeypatch.setattr(jetson, "TEGRA_RELEASE", folder / "release")
    monkeypatch.setattr(installing, "DRIVER", folder / "version")
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    for module in (doctor, cuda):
        monkeypatch.setattr(module, "gpus", answered)
    monkeypatch.setattr(doctor, "find_spec", find_spec)


def test_the_drivers_release_is_read_as_each_kernel_module_writes_it(tmp_path) -> None:
    told = tmp_path / "version"
    for line, release in (
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Rel", "540.4.0"),
        ("something else", ""),
    ):
        told.write_text(f"{line}\nGCC version:  gcc version 12.3.0\n")
        assert installing.driver_release(told) == release


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
    assert "libnvdla_compiler.so" in check.detail
    (tmp_path / "release").write_text(RELEASES[6])
    monkeypatch.setattr(jetson, "TEGRA_RELEASE", tmp_path / "release")
    assert doctor._tensorrt("tensorrt").fix == "install the package nvidia-l4t-dla-compiler"


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


@pytest.mark.parametrize("jetpack", [0, 6])
def test_a_part_that_opencv_lacks_is_told_with_a_way_that_does_not_lose_another(
    jetpack, tmp_path, monkeypatch
) -> None:
    be_machine(monkeypatch, tmp_path, ORIN, jetpack=jetpack, driver="540.4.0", installed="tensorrt")
    lacking = "  FFMPEG:  NO\n  v4l/v4l2:  NO\n  GUI:  NONE\n"
    monkeypatch.setattr("cv2.getBuildInformation", lambda: lacking)
    checks = by_name()
    for name in ("webcams", "overlay videos", "windows"):
        assert checks[name].status == "warn"
        assert f"no {name}" in checks[name].detail
        assert ("without csi://" in checks[name].fix) == bool(jetpack)
    assert checks["gstreamer"].status == ("warn" if jetpack else "ok")


def test_no_engine_at_all_is_a_failure(monkeypatch) -> None:
    def none(engine: str = "auto") -> object:
        raise EngineError("no engine works here")

    monkeypatch.setattr(doctor, "choose_engine", none)
    assert doctor._auto().status == "fail"


def test_what_cuda_is_called_through_is_named(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "gpus", lambda: [])
    monkeypatch.setattr(doctor, "back_end", lambda: ("pycuda", "cuda-bindings is not installed"))
    (check,) = doctor._cuda()
    assert check.status == "ok"
    assert "pycuda, call by call as it has no CUDA graphs: cuda-bindings is not" in check.detail


def test_a_wrong_wish_for_what_cuda_is_called_through_is_told(monkeypatch) -> None:
    monkeypatch.setenv("PROTOEDGE_CUDA", "cupy")
    (check,) = doctor._cuda()
    assert (check.status, check.fix) == ("fail", "unset PROTOEDGE_CUDA")
