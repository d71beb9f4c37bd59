"""The border to CUDA: codes become errors with advice, and the fake is called as the real one."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import Driver, Machine, Runtime, driver, runtime
from fake_tensorrt import FakeTensorRt, opened

from engines import cuda, jetson
from engines.cuda import ADVICE, LOST, Cuda, DeviceLostError, call, error_from_code, gpus
from engines.errors import EngineError


def _has_gpu() -> bool:
    try:
        return bool(gpus())
    except EngineError:
        return False


without_gpu = pytest.mark.skipif(_has_gpu(), reason="would call this machine's GPU")


@pytest.mark.parametrize("code", runtime.cudaError_t, ids=lambda code: code.name)
def test_every_code_is_one_line_with_its_number_and_what_to_do(code) -> None:
    if int(code) == 0:
        return
    error = error_from_code(code, "cudaMalloc")
    told = str(error)
    assert str(int(code)) in told
    assert "\n" not in told
    assert isinstance(error, DeviceLostError) == (int(code) in LOST)
    if int(code) in ADVICE:
        assert ADVICE[int(code)] in told


def test_what_is_lost_has_an_advice() -> None:
    assert set(ADVICE) >= LOST


def test_the_numbers_mean_the_same_in_the_driver() -> None:
    of_driver = {int(code): code.name for code in driver.CUresult}
    for number, words in {214: "ECC", 700: "ILLEGAL_ADDRESS", 709: "CONTEXT_IS_DESTROYED"}.items():
        assert words in of_driver[number]
    error = error_from_code(driver.CUresult.CUDA_ERROR_ILLEGAL_ADDRESS, "cuCtxPushCurrent")
    assert isinstance(error, DeviceLostError)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(error)


def test_a_code_that_this_cuda_does_not_know_is_still_told() -> None:
    class Code(int):
        pass

    assert "CUDA error 4242 in cudaX" in str(error_from_code(Code(4242), "cudaX"))


@without_gpu
def test_without_a_driver_library_the_driver_says_no_driver() -> None:
    with pytest.raises(EngineError, match="cuInit: CUDA error 35: there is no NVIDIA driver"):
        Cuda.installed().drive("cuInit", 0)


@without_gpu
def test_without_a_driver_the_runtime_says_so() -> None:
    with pytest.raises(EngineError, match="there is no NVIDIA driver; in a container"):
        Cuda.installed().run("cudaMalloc", 1)


@pytest.mark.parametrize(
    ("driver_version", "runtime_version", "release", "told"),
    [
        (0, 13050, "", "there is no NVIDIA driver; in a container pass --gpus all"),
        (12060, 13050, "", r"for CUDA 12\.6, .* for 13\.5; pip install .*>=12\.9\.1,<13'"),
        (12060, 13050, "# R36", r"for CUDA 12\.6, cuda-bindings for 13\.5; pip install .*<13'"),
        (12060, 12090, "# R36 (release)", r"package cuda-compat-12-9, or a newer JetPack"),
        (12040, 12090, "", r"for CUDA 12\.4, cuda-bindings for 12\.9; update the NVIDIA driver"),
    ],
)
def test_what_is_possible_with_this_driver_is_told(
    driver_version, runtime_version, release, told, tmp_path, monkeypatch
) -> None:
    """Error 35 has many causes, and on a Jetson the driver can't be updated by itself."""
    old = SimpleNamespace(
        cudaDriverGetVersion=lambda: (0, driver_version),
        cudaRuntimeGetVersion=lambda: (0, runtime_version),
        cudaGetDeviceCount=lambda: (35, None),
    )
    (tmp_path / "release").write_text(release)
    monkeypatch.setattr(jetson, "TEGRA_RELEASE", tmp_path / "release")
    monkeypatch.setattr(cuda, "runtime", lambda: old)
    old.cudaGetDeviceCount.__name__ = "cudaGetDeviceCount"
    with pytest.raises(EngineError, match=told) as error:
        cuda.gpus()
    assert "\n" not in str(error.value)


def test_results_are_unpacked() -> None:
    def function(*values):
        return (runtime.cudaError_t(0), *values)

    assert call(function) is None
    assert call(function, 1) == 1
    assert call(function, 1, 2) == (1, 2)


def test_an_error_is_cleared_for_the_next_library() -> None:
    machine = Machine()
    machine.fail("cudaSetDevice", 2)
    with pytest.raises(EngineError):
        machine.cuda.run("cudaSetDevice", 0)
    assert machine.order == ["cudaSetDevice", "cudaGetLastError"]


@pytest.mark.parametrize("library", [Runtime, Driver])
def test_the_fake_has_the_real_names_and_parameters(library) -> None:
    names = [name for name in vars(library) if name.startswith("cu")]
    assert len(names) > 5
    for name in names:
        real = inspect.signature(getattr(library.real, name))
        fake = list(inspect.signature(vars(library)[name]).parameters)[1:]
        assert list(real.parameters) == fake, name


@without_gpu
def test_the_real_library_takes_the_arguments_and_gives_as_many_results() -> None:
    """Everything that an engine calls in its life, made again of the real runtime.

    Without a driver that answers error 35 to everything, after it has converted the arguments: one
    that it doesn't take raises. The driver's functions cannot be called where there is no driver.
    """
    machine = Machine(integrated=True)
    with opened(machine) as engine:
        engine.infer(np.zeros((3, 8, 16, 3), np.uint8))
    refused = Machine()
    with opened(refused, FakeTensorRt(refused, capturable=False)) as engine:
        engine.infer(np.zeros((1, 8, 16, 3), np.uint8))
    made = {}
    for one in (machine, refused):
        for real, name, arguments in one.calls:
            if real is runtime:
                made[name, tuple(type(argument) for argument in arguments)] = arguments
    assert len(made) > 15
    for (name, _), arguments in made.items():
        code, *values = getattr(runtime, name)(*arguments)
        assert int(code) == 35, name
        if name in machine.shapes:
            assert 1 + len(values) == machine.shapes[name], name
